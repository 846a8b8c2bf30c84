"""Forks of a process that uses a memory: both go on with it, or the new one is refused in one line, and none hangs."""

import os
from random import Random
from typing import ClassVar
from unittest import SkipTest

from memstack.testing.assertions import ensure
from memstack.testing.processes import DONE, REFUSED, said_by_a_fork
from memstack.testing.thorough.changes import ask_once, do_change
from memstack.testing.thorough.history import drawn_run
from memstack.testing.thorough.part import Attempt, Note, Part
from memstack.testing.thorough.run import Run


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
        run = drawn_run(self.subject, self.seed, number)
        for _ in range(3):
            do_change(run, random)
        ask_once(run, random)
        came = said_by_a_fork(lambda: _go_on(run, random))
        ensure(came in (DONE, REFUSED), f"in a forked process: {came}")
        _go_on(run, random)
        return Attempt(1, {"forks": 1, "refused in one line": int(came == REFUSED)})


def _go_on(run: Run, random: Random) -> None:
    """Ask, change, ask again and look at everything."""
    for _ in range(2):
        ask_once(run, random)
        do_change(run, random)
    run.look()
