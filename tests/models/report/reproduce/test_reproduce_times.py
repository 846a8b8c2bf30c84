"""How long cells take, by a few steps and by cells that are made."""

from pathlib import Path

import pytest
from helpers.small_table import small_request
from memstack_models.report.reproduce import estimate
from memstack_models.report.reproduce.estimate import Estimate, Speed, small, weights
from memstack_models.report.reproduce.making import RUN, TRAINED
from memstack_models.report.reproduce.plan import Request, plan
from memstack_models.report.reproduce.records import TrainedRecord
from memstack_models.report.reproduce.run import Course, in_words, processes_of


def test_a_step_is_timed_without_a_memory_and_with_few_entries_and_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever steps cost by weights, and memories by entries, is found again."""
    runs = [job.run for job in plan(Request(table="table4", scale="small", only=["isabelle"])).jobs]
    true = Speed(dense=2e-9, fixed=3e-8, search=4e-11)
    monkeypatch.setattr(estimate, "_step", lambda run: true.training(run) / run.train.steps)
    found = estimate.measured(runs)
    assert [found.dense, found.fixed, found.search] == pytest.approx([true.dense, true.fixed, true.search])
    assert found.reading(runs[1], 65536) > found.reading(runs[1], 8192) > found.reading(runs[1], 0) > 0
    assert found.reading(runs[1], 262144) == found.reading(runs[1], 65536)  # a document is no longer


def test_what_is_timed_is_small() -> None:
    (run, *_) = [job.run for job in plan(Request(table="figure1", scale="paper")).jobs]
    assert weights(run) > 1e8
    cut = small(run)
    assert (cut.model.layers, cut.train.rows, cut.train.accumulation) == (2, 1, 1)


def test_a_cell_like_one_that_is_made_takes_as_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "measured", lambda runs: Speed(dense=1.0))
    planned = plan(small_request(tmp_path, "table4", "cache", corpora=("isabelle", "github")))
    first, other = planned.jobs
    TrainedRecord(name=first.name, parameters=1, tokens=1, steps=3, seconds=12.5).write(first.folder / TRAINED)
    parts = Estimate(planned).parts(other)
    assert parts[RUN] == 12.5
    assert set(parts) == {RUN, "none"}
    assert set(Estimate(planned).parts(first)) == {"none"}


def test_the_rest_is_told_at_the_rate_so_far(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (job,) = plan(small_request(tmp_path, "table4", "cache")).jobs
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    course = Course(100.0, {job.folder: {RUN: 60.0, "none": 40.0}}, 2, _begun=0.0)
    assert course.left() == 50.0
    clock[0] = 90.0
    course.advance(job, RUN, 0.5)
    assert course.left() == pytest.approx(70 * 90 / 30)
    course.advance(job, RUN, 9.0)
    course.finish(job)
    assert course.done == 100.0


def test_times_are_said_in_words() -> None:
    said = [in_words(seconds) for seconds in (4, 100, 3000, 6000, 3 * 86400, 1e9)]
    assert said == ["4 s", "1.7 min", "50 min", "1.7 h", "3 days", "32 years"]


def test_as_many_at_once_as_there_are_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan(small_request(tmp_path))
    monkeypatch.setattr("memstack_models.report.reproduce.run.cores", lambda: 2)
    assert processes_of(planned, None) == 2
    assert processes_of(planned, 9) == 3  # there are no more cells
    assert processes_of(plan(Request(table="table4", scale="paper", only=["isabelle"])), None) == 1
