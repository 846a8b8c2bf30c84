"""Cells made one after the other here, or side by side in processes of their own."""

import os
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

import torch

from memstack.contract.errors import in_one_line
from memstack_models.report.reproduce.making import is_trained, make
from memstack_models.report.reproduce.plan import Job
from memstack_models.training.errors import TrainingStopped

Told = Callable[[Job, str, float], None]
"""Told of a job, a part of it, and how much more of that is done."""
Ended = Callable[[Job, str], None]
"""Told of a job that ended, and why it failed; an empty text if it did not."""


@dataclass
class Work:
    """Jobs to be made, and who is told of them."""

    told: Told
    ended: Ended
    tell: Callable[[str], None]
    failures: dict[str, str] = field(default_factory=dict[str, str])
    """Reasons, by the jobs' names."""
    _said: set[str] = field(default_factory=set[str])

    def one_after_the_other(self, jobs: Sequence[Job]) -> None:
        """Make them in this process. What fails is noted, and the others go on; a signal ends it all."""
        for job in jobs:
            reason = self._lacking(job)
            try:
                if not reason:
                    make(job, lambda part, share, job=job: self.told(job, part, share), self._say)
            except Exception as error:  # noqa: BLE001 - of a stranger's backend; the other cells still count
                reason = in_one_line(error)
            self._note(job, reason)

    def side_by_side(self, jobs: Sequence[Job], processes: int, threads: int) -> None:
        """Make them in so many processes at once, each with so many threads; a signal ends all of them, saved."""
        waiting, running = list(jobs), dict[Connection, tuple[Job, Any]]()
        try:
            while waiting or running:
                self._start(waiting, running, processes, threads)
                for end in wait(list(running), timeout=1.0):
                    assert isinstance(end, Connection)
                    self._hear(end, running)
        finally:
            for _, process in running.values():
                process.terminate()  # which a training takes as the wish to save and end
            for _, process in running.values():
                process.join()

    def _start(
        self, waiting: list[Job], running: dict[Connection, tuple[Job, Any]], processes: int, threads: int
    ) -> None:
        for job in list(waiting):
            busy = {each.folder for each, _ in running.values()}
            if reason := self._lacking(job):
                waiting.remove(job)
                self._note(job, reason)
            elif len(running) < processes and job.folder not in busy and (not job.source or is_trained(job.source)):
                waiting.remove(job)
                here, there = get_context("spawn").Pipe(duplex=False)
                process = get_context("spawn").Process(target=_work, args=(job, there, threads), daemon=False)
                process.start()
                there.close()
                running[here] = job, process

    def _hear(self, end: Connection, running: dict[Connection, tuple[Job, Any]]) -> None:
        job, process = running[end]
        try:
            message: Any = end.recv()
        except EOFError:
            process.join()
            message = f"its process ended with {process.exitcode}: the same command tries it again"
        if isinstance(message, tuple):
            self.told(job, *message)
            return
        process.join()
        running.pop(end)
        self._note(job, str(message))

    def _say(self, line: str) -> None:
        """Tell a note once, whatever the cells that have it."""
        if line not in self._said:
            self._said.add(line)
            self.tell(f"note: {line}")

    def _lacking(self, job: Job) -> str:
        """Why a job cannot be begun: what it would begin from has failed."""
        return f"{job.source.name} failed, which it begins from" if job.source and self._failed(job.source) else ""

    def _failed(self, job: Job) -> bool:
        return job.name in self.failures

    def _note(self, job: Job, reason: str) -> None:
        if reason:
            self.failures[job.name] = reason
        self.ended(job, reason)


@contextmanager
def ending() -> Generator[None, None, None]:
    """Have SIGTERM and SIGHUP end what is going on as Ctrl-C does, so that no process is left behind.

    While a model trains in this process, its trainer answers them: it finishes the step and saves.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise TrainingStopped(f"stopped by {signal.Signals(number).name}", number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    former = {number: signal.getsignal(number) for number in numbers}
    former = {number: each for number, each in former.items() if each not in (signal.SIG_IGN, None)}
    for number in former:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, each in former.items():
            signal.signal(number, each)


def _work(job: Job, end: Connection, threads: int) -> None:
    """A process of its own; it sends parts that are done and, last, why it failed or an empty text."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which all processes get: the first one tells this one
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads)
    try:
        make(job, lambda part, share: end.send((part, share)))
        end.send("")
    except TrainingStopped as stopped:
        sys.exit(stopped.exit_code)
    except Exception as error:  # noqa: BLE001 - it is told where the others are
        with suppress(OSError):  # unless the command that began all this is gone
            end.send(in_one_line(error))
