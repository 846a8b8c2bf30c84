"""A report that is cut short goes on; one of some backends; one beside another model."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.small_checkpoint import write_checkpoint
from memstack_models.report import run as report
from memstack_models.report.attempts import Attempts
from memstack_models.report.html import PAGE
from memstack_models.report.parts import FILE, Parts
from memstack_models.report.plan import FULL, QUICK, Plan
from memstack_models.report.records import LeftOut, Report
from memstack_models.report.run import Request

from memstack import BackendUnavailableError, ConfigError, UnknownBackendError
from memstack.measure import Point, Workload
from memstack.measure.measurement import TooSlowError

PLAN = Plan(
    entries=64,
    sizes=(32, 64),
    step_sizes=(32,),
    documents=2,
    tokens=100,
    capacity=64,
    stride=10,
    repeats=2,
    backends=("exact",),
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without pictures, which take longer than these small measurements."""
    monkeypatch.setattr(report, "write_page", lambda results, folder: folder)


def stopped_at(monkeypatch: pytest.MonkeyPatch, call: int) -> list[int]:
    """Ctrl-C at one of the measurements of a workload; returns the entries of those that were made."""
    measure, made = Workload.measure, list[int]()

    def stopping(workload: Workload, backend: str, options: Mapping[str, Any]) -> Point:
        if len(made) == call:
            raise KeyboardInterrupt
        made.append(workload.entries)
        return measure(workload, backend, options)

    monkeypatch.setattr(Workload, "measure", stopping)
    return made


@pytest.mark.usefixtures("undrawn")
def test_a_report_that_was_stopped_goes_on_where_it_was(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(checkpoint=str(checkpoint), target=0.5)
    with monkeypatch.context() as patch:
        made = stopped_at(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            report.report(request, tmp_path, PLAN)
    assert made == [32, 64]
    kept = (tmp_path / FILE).read_text()
    assert kept.count("\n") == 3
    (tmp_path / FILE).write_text(kept + '{"name": "settings: exact, 64 ent')  # as a kill leaves it
    told: list[str] = []
    with monkeypatch.context() as patch:
        made = stopped_at(patch, -1)
        results = report.report(request, tmp_path, PLAN, told.append)
    assert made == [64]  # of the part that was not reached
    assert "sizes: exact, 32 entries (from before)" in told
    assert results.taken_over == 2
    assert [point.entries for point in results.scaling] == [32, 64]
    assert not (tmp_path / FILE).exists()
    assert Report.read(tmp_path / report.RESULTS) == results


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("change", [{"seed": 1}, {"target": 0.6}])
def test_what_was_measured_with_anything_else_is_measured_anew(
    change: dict[str, Any], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stopped_at(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            report.report(Request(checkpoint=str(checkpoint), target=0.5), tmp_path, PLAN)
    asked = replace(Request(checkpoint=str(checkpoint), target=0.5), **change)
    assert report.report(asked, tmp_path, PLAN).taken_over is None


def test_what_was_given_up_stays_so_and_what_failed_is_tried_again(tmp_path: Path) -> None:
    def failing(error: Exception) -> Callable[[], LeftOut]:
        def call() -> LeftOut:
            raise error

        return call

    left_out = LeftOut(part="a", setting="b", entries=1, reason="none")
    for error, tried in ((TooSlowError("took hours"), False), (RuntimeError("broke"), True)):
        first = Attempts(lambda doing: None, Parts(tmp_path, {"seed": 1}))
        assert first.measure("sizes", type(error).__name__, 8, LeftOut, failing(error)) is None
        again = Attempts(lambda doing: None, Parts(tmp_path, {"seed": 1}))
        result = again.measure("sizes", type(error).__name__, 8, LeftOut, lambda: left_out)
        assert result == (left_out if tried else None)
        assert [one.reason for one in again.given_up] == ([] if tried else ["took hours"])


@pytest.mark.parametrize("content", ["", "no json\n", '{"kind": "parts"}\n', '{"kind": "report", "version": 1}\n'])
def test_a_file_of_parts_that_is_none_is_written_over(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(content)
    parts = Parts(tmp_path, {"seed": 1})
    assert parts.taken_over == 0
    parts.keep("one", LeftOut(part="a", setting="b", entries=1, reason="none"))
    assert Parts(tmp_path, {"seed": 1}).taken_over == 1


def test_a_report_of_some_backends_has_exact_search_beside_them() -> None:
    plan = QUICK.only(["bucketed"])
    assert [spec.name for spec in plan.specs()] == ["exact", "bucketed"]
    assert [spec.name for spec in FULL.only(["exact"]).specs()] == ["exact"]
    assert len(QUICK.only([]).specs()) >= 2
    assert plan.expected < QUICK.expected
    with pytest.raises(UnknownBackendError, match="did you mean 'hnsw'"):
        QUICK.only(["hnws"])


def test_a_backend_that_is_not_installed_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("memstack.plugins.specs._installed", lambda name: False)
    with pytest.raises(BackendUnavailableError, match="pip install"):
        QUICK.only(["hnsw"])


def test_the_opponent_reads_the_same_text_and_stands_in_table_and_picture(checkpoint: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path, "model.memory_layers=[]", f"data.corpus={checkpoint.parent / 'corpus'}")
    request = Request(checkpoint=str(checkpoint), target=0.5, opponent=str(other))
    results = report.report(request, tmp_path / "out", PLAN)
    (fair,) = [read for read in results.perplexity if read.kind == "opponent"]
    assert fair.tokens == results.tokens
    assert fair.name == "run"
    page = (tmp_path / "out" / PAGE).read_text()
    assert "<td>this model, memory off</td>" in page
    assert "<td>run</td>" in page
    assert "Against run the memory" in " ".join(results.conclusions)


def test_an_opponent_of_another_tokeniser_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path, "data.tokenizer=bpe", "data.vocab_size=300")
    with pytest.raises(ConfigError, match="another tokeniser"):
        report.report(Request(checkpoint=str(checkpoint), opponent=str(other)), tmp_path / "out", PLAN)
    assert not (tmp_path / "out").exists()
