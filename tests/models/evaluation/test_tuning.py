"""memstack tune: the fastest setting that finds enough wins, exact search if nothing is faster, and failures show."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_checkpoint import write_checkpoint
from memstack_models.evaluation import tuning
from memstack_models.evaluation.tuning import Choice, chosen, expected_trials, tried_table, tune
from memstack_models.training import run_folder
from rich.console import Console
from torch.nn.functional import normalize

from memstack import BackendSpec, UnknownBackendError
from memstack.cli import main as cli
from memstack.measure import Point, Recording, Workload
from memstack.measure.measurement import TooSlowError
from memstack.plugins.registry import registry

AT_HAND = "bucketed", "hnsw"
SEARCH_SPACES = {"fast": (1, 2, 3), "slow": (1, 2), "heavy": (1, 2), "broken": (1, 2)}
SPECS = [
    registry().spec("exact"),
    *(BackendSpec(name=n, target="", summary="", search_space={"x": k}) for n, k in SEARCH_SPACES.items()),
]
MEASURED = {  # recall, search, add; exact search takes 10
    ("fast", 1): (0.5, 1.0, 1.0),
    ("fast", 2): (0.96, 2.0, 1.0),
    ("fast", 3): (1.0, 3.0, 1.0),
    ("slow", 1): (0.9, 21.0, 0.0),
    ("slow", 2): (1.0, 30.0, 0.0),
}


class Measured(Workload):
    """Times and recalls as they are in the table above."""

    def measure(self, backend: str, options: Mapping[str, Any]) -> Point:
        if backend == "heavy":
            raise TooSlowError(f"took more than {self.limit_s:.3g} s")
        if backend == "broken":
            raise RuntimeError("no such tree")
        recall, search, add = MEASURED.get((backend, options.get("x", 0)), (1.0, 10.0, 0.0))
        return Point(
            backend=backend,
            options=dict(options),
            rows=self.rows,
            heads=self.heads,
            entries=self.entries,
            queries=16,
            recall=recall,
            attention_mass_recall=recall,
            search_ms=search,
            add_ms=add,
            worst_add_ms=add,
            fill_s=0.0,
        )


@pytest.fixture(autouse=True)
def _backends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tuning, "installed", lambda: SPECS)
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path / "cache"))


def workload(kind: type[Workload] = Measured) -> Workload:
    keys = normalize(torch.randn(2, 300, 8, generator=torch.Generator().manual_seed(0)), dim=-1).half()
    return kind(recording=Recording(keys, keys, 16), rows=1, heads=2, entries=160, neighbours=4)


def test_the_fastest_setting_that_finds_enough_is_chosen() -> None:
    choice = tune(workload(), 0.95)
    assert (choice.best.backend, choice.best.options) == ("fast", {"x": 2})
    assert tomllib.loads(choice.toml(4)) == {
        "memory": {"backend": "fast", "capacity": 160, "neighbours": 4, "options": {"x": 2}}
    }
    assert "fast, x=2 finds 96.0% of the neighbours" in choice.reasons()
    assert "0.30x of exact search: 0.20x to search and 0.10x to add" in choice.reasons()


def test_no_more_is_tried_than_can_win() -> None:
    """Not beyond the target, not once too slow, given up or failed."""
    watched: list[str] = []
    choice = tune(workload(), 0.95, watched.append)
    tried = [(trial.backend, trial.options.get("x"), trial.note) for trial in choice.trials]
    assert tried == [
        ("exact", None, ""),
        ("fast", 1, ""),
        ("fast", 2, ""),
        ("slow", 1, "already too slow"),
        ("heavy", 1, "given up: took more than 1 s"),
        ("broken", 1, "RuntimeError: no such tree"),
    ]
    assert [trial.failed for trial in choice.trials] == [False] * 5 + [True]
    assert len(watched) == len(tried) <= expected_trials() == 10


def test_exact_search_wins_where_nothing_is_clearly_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MEASURED, ("fast", 2), (0.96, 9.0, 0.9))
    choice = tune(workload(), 0.95)
    assert choice.best is choice.exact
    assert tomllib.loads(choice.toml(4)) == {"memory": {"backend": "exact", "capacity": 160, "neighbours": 4}}
    assert "nothing is clearly faster" in choice.reasons()
    assert "fast, x=2, costs 0.99x" in choice.reasons()
    monkeypatch.setattr(tuning, "installed", lambda: SPECS[:1])
    assert "nothing else reached a recall of 0.95" in tune(workload(), 0.95).reasons()


def printed(choice: Choice) -> list[str]:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(tried_table(choice))
    return [" ".join(line.split()) for line in captured.get().splitlines()]


def test_the_table_shows_what_was_tried_against_exact_search() -> None:
    lines = printed(tune(workload(), 0.95))
    assert "fast, x=2 0.960 2 1 0.30x" in lines
    assert "heavy, x=1 given up" in lines
    assert "broken, x=1 failed" in lines


def test_a_real_backend_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "installed", lambda: [registry().spec("exact"), registry().spec("hnsw")])
    choice = tune(workload(Workload), 0.95)
    assert [(trial.backend, trial.point is not None) for trial in choice.trials] == [("exact", True), ("hnsw", True)]
    assert choice.exact.recall == 1.0
    assert choice.exact.search_ms > 0


@pytest.mark.parametrize(("specs", "code"), [(SPECS[:1], 0), ([SPECS[0], SPECS[-1]], 1)])
def test_the_command_prints_what_to_put_into_a_recipe(
    specs: list[BackendSpec],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A backend that fails is said, and fails the command, but takes no other one down."""
    monkeypatch.setattr(tuning, "installed", lambda: specs)
    checkpoint, numbers = write_checkpoint(tmp_path), tmp_path / "new" / "numbers.json"
    monkeypatch.setattr("sys.argv", ["memstack", "tune", str(checkpoint), "--entries", "100", "--json", str(numbers)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    out, err = capsys.readouterr()
    assert int(stopped.value.code or 0) == code
    # Standard output is no terminal here: the TOML is alone there.
    assert tomllib.loads(out)["memory"]["capacity"] == 100
    assert ("no memory backend is called 'broken'" in err) == bool(code)
    kept = json.loads(numbers.read_text())
    assert kept["best"]["backend"] == "exact"
    assert [trial["backend"] for trial in kept["trials"]] == [spec.name for spec in specs]


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["memstack", "tune", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


def test_what_is_piped_into_a_file_is_the_memory_of_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tuning, "installed", lambda: SPECS[:1])
    assert command(monkeypatch, write_checkpoint(tmp_path), "--entries", 100) == 0
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(capsys.readouterr().out + "\n[model]\npreset = 'tiny'\n")
    run = run_folder.recipe(str(recipe), [])
    assert (run.memory.backend, run.memory.capacity, run.memory.neighbours) == ("exact", 100, 4)


def test_for_json_on_standard_output_the_toml_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tuning, "installed", lambda: SPECS[:1])
    checkpoint = write_checkpoint(tmp_path)
    assert command(monkeypatch, checkpoint, "--entries", 100, "--json", "-") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["best"]["backend"] == "exact"
    assert "[memory]" in err
    assert command(monkeypatch, checkpoint, "--toml", "--json", "-") == 2
    assert "both want standard output" in capsys.readouterr().err


def test_only_the_backends_that_are_named_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """And exact search, which is their measure."""
    monkeypatch.setattr(tuning, "installed", lambda: [registry().spec("exact"), *map(registry().spec, AT_HAND)])
    assert [spec.name for spec in chosen([])] == ["exact", *AT_HAND]
    assert [spec.name for spec in chosen(["hnsw"])] == ["exact", "hnsw"]
    assert [spec.name for spec in chosen(["exact"])] == ["exact"]
    with pytest.raises(UnknownBackendError, match="did you mean 'hnsw'"):
        chosen(["hsnw"])
    watched: list[str] = []
    tune(workload(), 0.95, watched.append, chosen(["exact"]))
    assert watched == ["exact"]


class Busier(Measured):
    """From the second measurement on, everything takes three times as long."""

    def measure(self, backend: str, options: Mapping[str, Any]) -> Point:
        point = super().measure(backend, options)
        first = backend == "exact" and not BEFORE
        BEFORE.append(backend)
        return point if first else point.model_copy(update={"search_ms": 3 * point.search_ms})


BEFORE: list[str] = []


def test_a_machine_that_becomes_busy_makes_no_backend_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MEASURED, ("slow", 1), (0.9, 15.0, 0.0))
    monkeypatch.setattr(tuning, "installed", lambda: [SPECS[0], SPECS[2]])
    BEFORE.clear()
    trials = tune(workload(Busier), 0.95).trials
    assert [(trial.backend, trial.note) for trial in trials] == [("exact", ""), ("slow", ""), ("slow", "")]
