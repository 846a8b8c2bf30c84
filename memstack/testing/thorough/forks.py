"""Forks of a process that uses a memory: both go on with it, or the new one is refused in one line, and none hangs."""

import os
import select
import signal
import warnings
from collections.abc import Callable
from random import Random
from typing import ClassVar
from unittest import SkipTest

from memstack.contract.errors import MemstackError
from memstack.testing.assertions import ensure
from memstack.testing.thorough.changes import ask_once, do_change
from memstack.testing.thorough.history import drawn_world
from memstack.testing.thorough.part import Attempt, Note, Part
from memstack.testing.thorough.report import said
from memstack.testing.thorough.run import Run

WAITING = 30.0
"""Seconds until a forked process is held to hang."""


class Forks(Part):
    """Forks of a process that uses a memory: as data loaders do it."""

    name: ClassVar[str] = "forks"
    about: ClassVar[str] = "forks of a process that uses it"
    unit: ClassVar[str] = "forks"
    share: ClassVar[float] = 0.05
    torch_threads: ClassVar[int | None] = None
    each: ClassVar[int] = 1000

    def attempt(self, number: int, note: Note) -> Attempt:
        if not hasattr(os, "fork"):
            raise SkipTest("this system does not fork")
        random = Random(f"forks {self.seed} {number}")
        try:
            run = Run(self.subject, drawn_world(self.subject, self.seed, number))
        except MemstackError:
            return Attempt(0, {"memories refused": 1})
        for _ in range(3):
            do_change(run, random)
        ask_once(run, random)
        refused = in_fork(lambda: _go_on(run, random))
        _go_on(run, random)
        return Attempt(1, {"forks": 1, "refused in one line": int(refused)})


def _go_on(run: Run, random: Random) -> None:
    """Ask, change, ask again and look at everything."""
    for _ in range(2):
        ask_once(run, random)
        do_change(run, random)
    run.look()


def in_fork(work: Callable[[], None]) -> bool:
    """Do this in a forked process; AssertionError if it fails or hangs there; True if memstack refuses it there."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this process has threads is the point
        child = os.fork()
    if child == 0:
        _end_with(work, write)
    os.close(write)
    try:
        heard = select.select([read], [], [], WAITING)[0]
        told = os.read(read, 1000).decode() if heard else ""
    finally:
        if not select.select([read], [], [], 0)[0]:
            os.kill(child, signal.SIGKILL)
        os.close(read)
        _, status = os.waitpid(child, 0)
    ensure(bool(heard), f"a forked process hangs: nothing for {WAITING:g} s")
    ensure(bool(told), f"a forked process ended with status {status}")
    ensure(not told.startswith("-"), f"in a forked process: {told[1:]}")
    return told.startswith("0")


def _end_with(work: Callable[[], None], write: int) -> None:
    """Work, say how it went in a character and a line, and end this process without a word of Python's."""
    try:
        work()
        told = "+"
    except MemstackError as error:
        told = f"0{said(error)}"
    except BaseException as error:  # noqa: BLE001 - told to the process that forked this one
        told = f"-{said(error)}"
    os.write(write, told.encode()[:1000])
    os._exit(0)
