"""memstack report: what it measures, what it concludes, and that its page can be looked at."""

import io
import re
import shutil
import subprocess
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_checkpoint import write_checkpoint
from memstack_models.report import plan as plans
from memstack_models.report import run as report
from memstack_models.report.conclusions import conclusions
from memstack_models.report.figures import FIGURES
from memstack_models.report.html import PAGE, write_page
from memstack_models.report.plan import Plan
from memstack_models.report.records import Report

from memstack import BackendSpec, MemoryShape, create_memory
from memstack.cli import main as cli
from memstack.contract.errors import RecordError
from memstack.measure import KEY_SETS
from memstack.measure.baselines import RandomEntries, Recent
from memstack.measure.measurement import add_entries
from memstack.measure.sweep import settings
from memstack.plugins.registry import registry

PLAN = Plan(
    entries=96,
    sizes=(32, 96),
    step_sizes=(32, 64),
    documents=2,
    tokens=150,
    capacity=64,
    repeats=1,
)
GRAPHS = replace(
    registry().spec("hnsw"),
    search_space={"exact_below": (16,), "m": (5,), "ef_construction": (5,), "ef_search": (4, 64)},
)
KINDS = "", "-narrow"
GHOST = BackendSpec(name="ghost", target="nowhere:Ghost", summary="cannot be made", search_space={"depth": (1, 2)})


@dataclass(frozen=True)
class Made:
    """What the command did."""

    results: Report
    folder: Path
    printed: str
    code: int


def memstack(*arguments: object) -> tuple[int, str]:
    """Run a command line; its exit code and output."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setattr("sys.argv", ["memstack", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    return int(stopped.value.code or 0), printed.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A report about exact search, graphs with a search space, and a backend that fails whatever is asked of it."""
    folder = tmp_path_factory.mktemp("report") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEMSTACK_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(plans, "installed", lambda: [registry().spec("exact"), GRAPHS, GHOST])
        patch.setattr(plans, "QUICK", PLAN)
        checkpoint = write_checkpoint(tmp_path_factory.mktemp("checkpoint"))
        code, printed = memstack("report", checkpoint, "--quick", "--out", folder, "--recall", "0.5")
    return Made(Report.read(folder / report.RESULTS), folder, printed, code)


def test_everything_is_measured_and_what_fails_is_told(made: Made) -> None:
    results = made.results
    settings = [(one.backend, one.options.get("ef_search")) for one in results.settings]
    assert settings == [("exact", None), ("hnsw", 4), ("hnsw", 64), ("hnsw", None)]
    assert {(one.backend, one.entries) for one in results.scaling} == {
        (name, entries) for name in ("exact", "hnsw") for entries in PLAN.sizes
    }
    names = [one.name for one in results.perplexity]
    assert names == ["memory off", "most recent entries", "random entries", "exact", "hnsw", "hnsw", "hnsw"]
    assert all(one.recall is not None for one in results.perplexity if one.name not in ("memory off", "exact"))
    assert [(one.backend, one.entries) for one in results.steps] == [
        (None, 0), ("exact", 32), ("exact", 64), ("hnsw", 32), ("hnsw", 64)
    ]  # fmt: skip
    assert {one.part for one in results.failures} == {"sizes", "settings", "perplexity", "steps"}
    assert all("ghost" in one.reason for one in results.failures)


def test_the_exact_search_finds_all_and_a_poor_setting_does_not(made: Made) -> None:
    results = made.results
    recalls = {(one.backend, one.options.get("ef_search")): one.recall for one in results.settings}
    assert recalls["exact", None] == 1.0
    assert recalls["hnsw", 4] < recalls["hnsw", None] == 1.0  # by default it searches so few exactly
    read = {(one.name, one.options.get("ef_search")): one.recall for one in results.perplexity}
    random, searched = read["random entries", None], read["hnsw", 64]
    assert random is not None
    assert searched is not None
    assert random < searched


@pytest.mark.long
def test_a_report_can_be_drawn_again(made: Made, tmp_path: Path) -> None:
    """To the byte, from the numbers alone."""
    shutil.copy(made.folder / report.RESULTS, tmp_path)
    code, printed = memstack("report", "--redraw", tmp_path / report.RESULTS)
    assert (code, printed.strip()) == (0, f"wrote {tmp_path / PAGE}")
    assert (tmp_path / PAGE).read_bytes() == (made.folder / PAGE).read_bytes()
    assert {path.name for path in tmp_path.glob("*.png")} == {f"{name}{kind}.png" for name in FIGURES for kind in KINDS}


def test_the_page_needs_nothing_else(made: Made) -> None:
    page = (made.folder / PAGE).read_text()
    sources = re.findall(r'(?:src|href|srcset)="([^"]*)"', page)
    assert len(sources) == 4 * len(FIGURES)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert "ghost" in page.partition("Failed")[2]


@pytest.mark.long
def test_a_report_of_failures_alone_is_a_page(made: Made, tmp_path: Path) -> None:
    nothing: dict[str, Any] = dict.fromkeys(("settings", "scaling", "perplexity", "steps"), ())
    page = write_page(made.results.model_copy(update=nothing), tmp_path).read_text()
    assert "Too little could be measured" in page
    assert "ghost" in page


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LOADED = """<script>addEventListener("load", () => document.body.dataset.pictures =
[...document.images].filter(image => image.complete && image.naturalWidth > 100).length)</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page in")
def test_the_page_renders_with_its_pictures(made: Made) -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    page, shot = made.folder / "watched.html", made.folder / "shot.png"
    page.write_text((made.folder / PAGE).read_text().replace("</body>", f"{LOADED}</body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={made.folder / 'profile'}"]

    def opened(*more: str) -> str:
        line = [str(CHROMIUM), *options, *more, page.as_uri()]
        return subprocess.run(line, check=True, capture_output=True, text=True, timeout=120).stdout

    dom = opened("--dump-dom")
    assert 'data-pictures="4"' in dom
    for heading in ("Recall against speed", "Perplexity against recall", "How it was measured"):
        assert f">{heading}</h2>" in dom
    opened(f"--screenshot={shot}", "--window-size=1200,2400")
    seen = torch.from_numpy(plt.imread(shot)[..., :3].copy())
    assert seen.std() > 0.05
    # Also in the lower half, where there are pictures only.
    assert len(seen[1200:].reshape(-1, 3).unique(dim=0)) > 50


def test_a_failing_backend_fails_the_command(made: Made) -> None:
    assert made.code == 1
    assert "failed: ghost, depth=1, 96 entries (settings): " in made.printed
    assert all(sentence in made.printed for sentence in made.results.conclusions)
    assert f"wrote {made.folder / PAGE}" in made.printed


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("no json", "is damaged, it is no JSON"),
        ("[]", "is no record of memstack"),
        ("{}", "is no record of memstack; one of kind 'report' was expected"),
        ('{"format": 0}', "is no record of memstack"),
        ('{"kind": "growth", "version": 1}', "is a record of kind 'growth'; one of kind 'report' was expected"),
        ('{"kind": "report", "version": 9}', "is a report of version 9; this memstack reads version 1"),
    ],
)
def test_what_is_no_result_is_one_line(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(RecordError, match=told) as caught:
        report.redraw(tmp_path / "results.json")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_the_report_of_the_repository_is_read_and_says_what_its_page_says() -> None:
    folder = Path(__file__).parents[3] / "benchmarks" / "report" / "two-cores"
    kept = Report.read(folder / report.RESULTS)
    assert len(kept.settings) == 33
    assert list(kept.conclusions) == conclusions(kept)
    page = (folder / PAGE).read_text(encoding="utf-8")
    assert all(f"<li>{escape(sentence)}</li>" in page for sentence in kept.conclusions)


def test_every_setting_of_every_backend_is_one_its_options_accept() -> None:
    for spec in registry().specs():
        if spec.needs_options:  # a report leaves it out
            continue
        tried = settings(spec)
        for setting in tried:
            registry().options(spec.name, setting)
        assert spec.exact or len(tried) > 2
        assert settings(spec, stride=2)[-1] == tried[-1]


SHAPE = MemoryShape(rows=2, heads=2, key_dim=8, value_dim=4, capacity=50)


@pytest.mark.parametrize("added", [3, 50, 70])
def test_the_baselines_answer_with_the_newest_and_with_random_entries(added: int) -> None:
    """Rows of different lengths; a row of three entries has no more to give."""
    for baseline in (Recent(SHAPE), RandomEntries(SHAPE)):
        stream = KEY_SETS["isotropic"](SHAPE, 0)
        add_entries(baseline, stream, added, chunk=20)
        baseline.reset(torch.tensor([False, True]))
        add_entries(baseline, stream, 3)
        queries = stream.queries(40)
        found = baseline.search(queries, 5)
        assert torch.equal(found.positions, baseline.search(queries, 5).positions)
        assert found.positions[1, 0, 0].sort().values.tolist() == [-1, -1, 0, 1, 2]
        newest = torch.arange(added + 3 - 5, added + 3)
        if type(baseline) is Recent:
            assert torch.equal(found.positions[0].sort(-1).values, newest.expand(2, 40, 5))
        else:
            oldest = max(0, added + 3 - 50)
            assert found.mask[0].all()
            assert all(len(set(one)) == 5 for one in found.positions[0].flatten(0, 1).tolist())
            assert (found.positions[0] < oldest + 10).any()
            assert found.positions[0].max() >= max(oldest, added + 3 - 10)


def test_the_random_floor_finds_its_share() -> None:
    memory, random = create_memory("exact", SHAPE), RandomEntries(SHAPE)
    for each in (memory, random):
        add_entries(each, KEY_SETS["isotropic"](SHAPE, 0), 50)
    queries = KEY_SETS["isotropic"](SHAPE, 1).queries(500)
    found, truth = random.search(queries, 5).positions, memory.search(queries, 5).positions
    assert (found[..., None] == truth[..., None, :]).any(-1).float().mean() == pytest.approx(0.1, abs=0.02)
