"""reproduce(): the cells that are missing made, and the table written as Markdown, JSON and pictures."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from memstack_models.data.load import tokenizer_for
from memstack_models.report.reproduce.conclusions import conclusions
from memstack_models.report.reproduce.estimate import Estimate, unlike
from memstack_models.report.reproduce.gathering import gather
from memstack_models.report.reproduce.making import is_made
from memstack_models.report.reproduce.markdown import write_page
from memstack_models.report.reproduce.plan import Job, Plan
from memstack_models.report.reproduce.pool import Work, ending
from memstack_models.report.reproduce.records import ReproduceRecord
from memstack_models.training.device import pick_device

EVERY_S = 60.0
"""Seconds between two pages that are written while cells are made."""


def processes_of(plan: Plan, asked: int | None) -> int:
    """Return how many cells are made at once: as asked, or as the scale's threads fit this machine's cores."""
    left = sum(not is_made(job) for job in unlike(plan.jobs))
    if asked is not None:
        return max(1, min(asked, left))
    device = pick_device(plan.jobs[0].run.train.device)
    if device.type != "cpu" or not plan.scale.threads:
        return 1
    return max(1, min(cores() // plan.scale.threads, left))


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_words(seconds: float) -> str:
    """Return a time as people say it: 40 s, 12 min, 3.5 h, 20 days."""
    for unit, name in ((86400 * 365, "years"), (86400 * 2, "days"), (5400, "h"), (90, "min")):
        if seconds >= unit:
            size = {"days": 86400, "h": 3600, "min": 60}.get(name, unit)
            return f"{seconds / size:.2g} {name}" if seconds / size < 10 else f"{seconds / size:,.0f} {name}"
    return f"{seconds:.0f} s"


@dataclass
class Course:
    """How far a plan is, in seconds of its estimate, and how long the rest will take at this rate."""

    total: float
    parts: dict[Path, dict[str, float]]
    """Of each cell's folder, the seconds of what was left."""
    processes: int
    done: float = 0.0
    _shares: dict[tuple[Path, str], float] = field(default_factory=dict[tuple[Path, str], float])
    _begun: float = field(default_factory=time.perf_counter)

    def advance(self, job: Job, part: str, share: float) -> None:
        """Count a share of a part, which is never more than the whole."""
        key = job.folder, part
        before = self._shares.get(key, 0.0)
        self._shares[key] = min(1.0, before + share)
        self.done += self.parts.get(job.folder, {}).get(part, 0.0) * (self._shares[key] - before)

    def finish(self, job: Job) -> None:
        """Count what was left of a cell as done."""
        for part in self.parts.get(job.folder, {}):
            self.advance(job, part, 1.0)

    def left(self) -> float:
        """Seconds that the rest will take: as estimated, and then at the rate of what is done."""
        elapsed = time.perf_counter() - self._begun
        if self.done < 0.02 * self.total:
            return (self.total - self.done) / self.processes
        return (self.total - self.done) * elapsed / self.done


def course(plan: Plan, processes: int) -> tuple[Course, Estimate]:
    """Estimate a plan; what nothing is known of is timed, for some seconds."""
    estimate = Estimate(plan)
    parts = {job.folder: estimate.parts(job) for job in unlike(plan.jobs)}
    return Course(sum(sum(each.values()) for each in parts.values()), parts, processes), estimate


def make_all(
    plan: Plan,
    course: Course,
    tell: Callable[[str], None],
    tick: Callable[[Course], None] = lambda course: None,
    keep: Callable[[dict[str, str]], None] = lambda failures: None,
) -> dict[str, str]:
    """Make what is missing; returns why cells failed, by their names. A signal ends it, with what is made kept.

    ``keep`` is told of them meanwhile, at most every ``EVERY_S``, after a cell: a page of what there is can be written.
    """
    left = [job for job in plan.jobs if not is_made(job)]
    for corpus in plan.corpora:  # once, and not by every process
        of_corpus = [job for job in left if job.corpus == corpus]
        if of_corpus and of_corpus[0].run.data.tokenizer == "bpe":
            tell(f"preparing {corpus}")
            tokenizer_for(of_corpus[0].run.data)
    count, kept = len(left), time.perf_counter()

    def told(job: Job, part: str, share: float) -> None:
        course.advance(job, part, share)
        tick(course)

    def ended(job: Job, reason: str) -> None:
        nonlocal count, kept
        count -= 1
        course.finish(job)
        tick(course)
        rest = f"; {count} left, about {in_words(course.left())}" if count else ""
        if count and time.perf_counter() - kept > EVERY_S:
            keep(work.failures)
            kept = time.perf_counter()
        tell(f"{job.name} {f'failed: {reason}' if reason else 'is made'}{rest}")

    work = Work(told, ended, tell)
    with ending():
        if course.processes > 1:
            threads = plan.scale.threads or max(1, cores() // course.processes)
            work.side_by_side(left, course.processes, threads)
        else:
            work.one_after_the_other(left)
    return work.failures


def write(plan: Plan, failures: dict[str, str], command: str) -> ReproduceRecord:
    """Write what there is of a table: the record, its page and its pictures."""
    record = gather(plan, failures, command)
    record = record.model_copy(update={"conclusions": tuple(conclusions(record))})
    record.write(stem(plan).with_suffix(".json"))
    write_page(record, stem(plan))
    return record


def stem(plan: Plan) -> Path:
    """Return the path of a table's files but for what they end in."""
    return plan.request.folder / f"{plan.request.table}-{plan.request.scale}"
