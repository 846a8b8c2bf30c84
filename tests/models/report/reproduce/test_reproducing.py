"""A table is made end to end, killed in between, and goes on with what is there."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.command_line import Run, ensure_refused
from helpers.small_table import SMALL, small_request
from memstack_models.report.reproduce import making, run
from memstack_models.report.reproduce.making import RUN, is_made, make, missing, readings
from memstack_models.report.reproduce.plan import Job, Request, plan
from memstack_models.report.reproduce.pool import Work
from memstack_models.report.reproduce.records import ReproduceRecord
from memstack_models.training import run_folder
from memstack_models.training.checkpoint import load


class KilledError(BaseException):
    """As a signal that nothing waits for."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: what is compiled is compiled once, also for processes of their own."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _cached(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("MEMSTACK_CACHE", str(cache))


def made(request: Request) -> ReproduceRecord:
    planned = plan(request)
    course, _ = run.course(planned, 1)
    failures = run.make_all(planned, course, lambda line: None)
    return run.write(planned, failures, "memstack reproduce")


def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the cells that are trained from now on."""
    names: list[str] = []
    really = making.train

    def noting(job: Job, *more: object) -> None:
        names.append(job.cell.name)
        really(job, *more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(making, "train", noting)
    return names


def test_a_table_is_made_and_says_what_is_published(tmp_path: Path) -> None:
    request = small_request(tmp_path)
    record = made(request)
    assert [each.cell for each in record.cells] == ["cache", "memory-2k", "memory-8k"]
    assert record.failures == {}
    folder = request.folder
    assert ReproduceRecord.read(folder / "table4-tiny.json") == record
    page = (folder / "table4-tiny.md").read_text(encoding="utf-8")
    assert "| memory-8k | 8k |" in page
    assert "-15.4 % |" in page
    for name in ("table4-tiny.png", "table4-tiny-narrow.png"):
        assert name in page
        assert (folder / name).stat().st_size > 5000
    eight = next(each for each in record.cells if each.cell == "memory-8k")
    assert not eight.differs
    by_label = {each.label: each for each in eight.readings}
    assert by_label["8192"].entries == 512
    assert by_label["8192"].change is not None
    assert "no document is longer" in by_label["262144"].left_out


def test_what_is_made_is_not_made_again_and_what_changed_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [*SMALL, "train.steps=6"]  # so many validate a fine-tuned cell once
    request = replace(small_request(tmp_path, "figure6"), overrides=settings)
    record = made(request)
    assert [len(each.curve) for each in record.cells] == [0, 0, 1, 1]
    assert [each.cell for each in record.cells] == ["cache", "memory-8k", "cache-longer", "given-8k"]
    names = trained(monkeypatch)
    assert made(request) == record
    assert names == []
    again = replace(request, overrides=[*settings, "eval.tokens=100"])
    assert not any(is_made(job) for job in plan(again).jobs)  # another text is read
    made(again)
    assert names == []  # by the same models
    changed = replace(request, overrides=[*settings, "memory.neighbours=2"])
    made(changed)
    assert names == ["memory-8k", "given-8k"]  # the others have no memory


def test_a_killed_table_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a training, and again between two readings."""
    request = small_request(tmp_path, "table4", "memory-2k")
    jobs = plan(request).jobs
    whole = made(replace(request, folder=tmp_path / "whole"))

    def kill(job: Job, part: str, at: str) -> None:
        if (job.cell.name, part) == ("memory-2k", at):
            raise KilledError

    def until(at: str) -> None:
        work = Work(lambda job, part, share: kill(job, part, at), lambda job, reason: None, lambda line: None)
        with pytest.raises(KilledError):
            work.one_after_the_other([job for job in jobs if not is_made(job)])

    names = trained(monkeypatch)
    until(RUN)
    assert [is_made(job) for job in jobs] == [True, False]
    until("512")
    there = [each.label for each in readings(jobs[1])]
    assert [each.label for each in missing(jobs[1])] == there[1:]
    cells = [[each.model_copy(update={"seconds": 0.0}) for each in record.cells] for record in (made(request), whole)]
    assert cells[0] == cells[1]
    assert names == ["cache", "memory-2k", "memory-2k"]


def test_a_finished_cell_keeps_its_weights_alone(tmp_path: Path) -> None:
    job = plan(small_request(tmp_path, "table4", "memory-2k")).jobs[1]
    make(job)
    tensors, progress = load(job.folder / RUN)
    assert all(name.startswith("model.") for name in tensors)
    assert progress["step"] == job.run.train.steps
    assert run_folder.read_log(job.folder / RUN)


def test_cells_are_made_side_by_side(tmp_path: Path) -> None:
    """In processes of their own; what one begins from comes first."""
    planned = plan(small_request(tmp_path, "table5", "cache-longer"))
    course, _ = run.course(planned, 2)
    said: list[str] = []
    assert run.make_all(planned, course, said.append) == {}
    assert all(map(is_made, planned.jobs))
    assert course.done == pytest.approx(course.total)
    assert len([line for line in said if line.partition(";")[0].endswith("is made")]) == len(planned.jobs)


def test_a_cell_that_fails_takes_only_those_along_that_begin_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = making.train

    def failing(job: Job, *more: object) -> None:
        if job.cell.name == "memory-8k":
            raise ValueError("no luck")
        really(job, *more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(making, "train", failing)
    record = made(small_request(tmp_path, "table5", "memory-8k-to-65k"))
    assert [each.cell for each in record.cells] == ["cache", "cache-longer"]
    assert record.failures == {
        "isabelle memory-8k seed 0": "ValueError: no luck",
        "isabelle memory-8k-to-65k seed 0": "isabelle memory-8k seed 0 failed, which it begins from",
    }
    assert "no luck" in (tmp_path / "out" / "table5-tiny.md").read_text(encoding="utf-8")


def test_the_command_line(memstack: Run, tmp_path: Path) -> None:
    request = small_request(tmp_path)
    corpus = f"isabelle={request.data['isabelle']}"
    settings = [part for each in SMALL for part in ("--set", each)]
    line = ["reproduce", "table4", "--scale", "tiny", "--only", "isabelle", "--only", "cache", "--jobs", "1"]
    code, out, _ = memstack(*line, "--data", corpus, "--dry-run", *settings)
    assert code == 0
    assert "training, 1 reading" in out
    assert "by a few steps on this machine" in out
    assert not Path("runs").exists()
    code, out, _ = memstack(*line, "--data", corpus, *settings)
    assert code == 0, out
    assert "isabelle cache seed 0 is made" in out
    assert "wrote runs/reproduce/table4-tiny.md" in out
    kept = json.loads(Path("runs/reproduce/table4-tiny.json").read_text(encoding="utf-8"))
    assert kept["command"].startswith("memstack reproduce table4")
    code, out, _ = memstack(*line, "--data", corpus, "--dry-run", *settings)
    assert "all cells are made" in out
    ensure_refused(memstack("reproduce", "table9"), "there is no table 'table9'")
    ensure_refused(memstack("reproduce", "table4", "--scale", "big"), "there is no scale 'big'")
