"""The asv suite: every benchmark once at its smallest size, in asv's own machinery; skips, failures, configuration."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asv import util
from asv.config import Config
from asv_runner.benchmarks._base import Benchmark
from asv_runner.discovery import disc_benchmarks, get_benchmark_from_name
from memstack_hf.measure import smollm2
from suite import common  # benchmarks/ is on the path: the very module that asv imports

from memstack import BackendSpec, BackendUnavailableError, Memory
from memstack.plugins.registry import Registry, registry

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FOLDER = BENCHMARKS / "suite"
QUICK = {"number": 1, "repeat": 1, "warmup_time": 0, "rounds": 1}
BUNDLED = ["exact", "bucketed", "faiss-ivf", "hnsw", "jax", "scann"]
RUNBOOKS = ["fill", "steady", "documents", "mostly-empty", "long-document"]
TINY = ("model.preset=tiny", "model.memory_layers=[1, 2]", "train.rows=2", "train.segment=32")
BESIDE = {"entries": 300, "tokens": 200, "turns": 2, "settings": {"window": 32, "segment": 32}}
SMALL: dict[str, dict[str, Any]] = {
    "LifeCycle": {"shapes": dict.fromkeys(RUNBOOKS, (20, 1, 512, 512))},
    "HeldOut": {"documents": 1, "tokens": 400},
    "Reading": BESIDE,
    "Decoding": BESIDE,
    "TrainingStep": {"settings": TINY, "turns": 1},
}
"""What makes a class cheaper than its cheapest parameters do; all others vary an axis round a cheaper base case."""
BASE = {"base": {"entries": 1280, "memories": 1, "queries": 8}}

Cell = tuple[Any, ...]

SUITE: dict[type, dict[str, Benchmark]] = {}
for found in disc_benchmarks(str(FOLDER)):
    SUITE.setdefault(type(found.func.__self__), {})[found.name] = found
EVERY = {name: benchmark for suite in SUITE.values() for name, benchmark in suite.items()}


def axes(owner: type) -> list[list[Any]]:
    """The parameters of a class; one that has none makes a single cell."""
    return getattr(owner, "params", [])


def cheapest(owner: type) -> Iterator[Cell]:
    """The smallest of every number; each backend with the first key set or runbook, and the first with all of them."""
    for cell in itertools.product(*([min(axis)] if isinstance(axis[0], int) else axis for axis in axes(owner))):
        if sum(isinstance(value, str) and value != axis[0] for value, axis in zip(cell, axes(owner), strict=True)) <= 1:
            yield cell


def made(name: str, owner: type, cell: Cell) -> Benchmark:
    """The benchmark as asv makes it for one cell in a quick run."""
    place = list(itertools.product(*axes(owner))).index(cell)
    return get_benchmark_from_name(str(FOLDER), f"{name}-{place}" if cell else name, QUICK)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is recorded, once for all."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    """Every class at its smallest, in a folder of its own, as asv gives one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMSTACK_CACHE", str(cache))
    monkeypatch.setattr(common, "RECORDED_ENTRIES", 1536)
    for owner in SUITE:
        for name, value in SMALL.get(owner.__name__, BASE).items():
            monkeypatch.setattr(owner, name, value, raising=name != "base")


@pytest.mark.parametrize(("owner", "cell"), [(owner, cell) for owner in SUITE for cell in cheapest(owner)])
def test_every_benchmark_runs(owner: type, cell: Cell) -> None:
    missing = any(registry().spec(value).missing() for value in cell if value in BUNDLED)
    missing |= "smollm2" in cell and smollm2.folder() is None
    for name in SUITE[owner]:
        benchmark = made(name, owner, cell)
        assert benchmark.do_setup() == missing
        if not missing:
            result: Any = benchmark.do_run()
            assert (min(result["samples"]) if benchmark.type == "time" else result) > 0
            # By ids, copies of one key count as missed.
            if name.endswith(("recall_by_score", "mass_recall")) and cell[0] == "exact":
                assert result == pytest.approx(1.0)


def test_there_is_one_benchmark_of_every_kind() -> None:
    kinds = {(name.partition(".")[0], name.rpartition(".")[2].partition("_")[0]) for name in EVERY}
    assert kinds == {
        *(("search", kind) for kind in ("time", "track", "peakmem")),
        *(("update", kind) for kind in ("time", "track")),
        ("step", "track"),
        ("hugging_face", "track"),
        ("perplexity", "track"),
        *(("startup", kind) for kind in ("time", "timeraw")),
    }


def test_backends_have_a_fixed_order_whatever_is_installed() -> None:
    for owner in SUITE:
        for axis in axes(owner):
            if "exact" in axis:
                place = axis.index("exact")
                assert axis[place : place + len(BUNDLED)] == BUNDLED


def test_a_tracked_number_has_a_unit() -> None:
    units = {name: benchmark.unit for name, benchmark in EVERY.items() if benchmark.type == "track"}
    assert {name for name, unit in units.items() if unit == "unit"} == set()


def made_with(name: str, backend: str) -> Benchmark:
    """The benchmark of that name for the backend's cheapest cell."""
    owner = type(EVERY[name].func.__self__)
    return made(name, owner, next(cell for cell in cheapest(owner) if backend in cell))


with_backends = pytest.mark.parametrize("name", [name for owner in SUITE if axes(owner) for name in SUITE[owner]])


@with_backends
def test_a_missing_library_is_a_skip_with_its_reason(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(BackendSpec, "missing", lambda spec: ("nosuchlibrary",))
    assert made_with(name, "hnsw").do_setup()
    assert "needs nosuchlibrary: pip install 'memstack[hnsw]'" in capsys.readouterr().out


@with_backends
def test_a_backend_that_fails_fails_its_benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the second number of a measurement that failed once."""

    def fail(*arguments: object, **options: object) -> Memory:
        raise BackendUnavailableError("broken on purpose")

    monkeypatch.setattr(Registry, "create", fail)
    monkeypatch.setattr("memstack.bank.create_memory", fail)
    for _ in range(2):
        benchmark = made_with(name, "hnsw")
        with pytest.raises(BackendUnavailableError, match="on purpose"):
            assert benchmark.do_setup() or benchmark.do_run()


def test_what_costs_too_much_is_skipped_by_a_declared_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    common.require_affordable("hnsw", 1 << 17)
    with pytest.raises(NotImplementedError, match="'hnsw' is given up to 131,072 keys here, this cell has 131,073"):
        common.require_affordable("hnsw", (1 << 17) + 1)
    monkeypatch.setattr(common, "SCALE", 2.0)
    common.require_affordable("hnsw", (1 << 17) + 1)


def test_numbers_of_one_measurement_are_measured_once() -> None:
    calls: list[int] = []
    numbers = [common.once("a/cell", lambda: calls.append(1) or {"recall": 1 / 3}) for _ in range(2)]
    assert numbers == [{"recall": 1 / 3}] * 2
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["asv.conf.json", "asv.kept.json"])
def test_asv_knows_every_key_of_the_configuration(name: str) -> None:
    """It ignores the others silently."""
    given = util.load_json(BENCHMARKS / name, api_version=1, js_comments=True)
    assert given.keys() <= vars(Config()).keys()


def test_asv_finds_the_suite_sound() -> None:
    line = [sys.executable, "-m", "asv", "check", "--python=same"]
    done = subprocess.run(line, cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_kept_results_are_those_of_the_benchmarks_as_they_are() -> None:
    """asv drops the results of a benchmark whose text, or its setup's, has changed: keep the text, or measure again."""
    kept = json.loads((BENCHMARKS / "results" / "benchmarks.json").read_text(encoding="utf-8"))
    versions = {name: benchmark["version"] for name, benchmark in kept.items() if name != "version"}
    assert versions == {name: benchmark.version for name, benchmark in EVERY.items()}
