"""Ctrl-C at any line of add, reset, select and load_state_dict: no pair is mixed, and the memory goes on."""

from collections import Counter
from random import Random
from typing import ClassVar

from memstack.testing.interrupts import count_lines, cut_off, packages_of
from memstack.testing.thorough.changes import Change, ask_once, do_change, drawn_change, settle
from memstack.testing.thorough.history import drawn_run
from memstack.testing.thorough.part import Attempt, Note, Part
from memstack.testing.thorough.run import Run

PLACES = 12
"""Lines tried of one change; another attempt tries others."""


class Lines(Part):
    """KeyboardInterrupt, raised at a line of the memory's own code."""

    name: ClassVar[str] = "lines"
    about: ClassVar[str] = "Ctrl-C at any line of a change"
    unit: ClassVar[str] = "interrupts"
    share: ClassVar[float] = 0.08
    each: ClassVar[int] = 100
    least: ClassVar[int] = 10

    def attempt(self, number: int, note: Note) -> Attempt:
        run, change, _ = self._prepared(number)
        total = count_lines(change.call, packages_of(run.memory))
        chosen = Random(f"places {self.seed} {number}")
        counts: Counter[str] = Counter()
        for place in sorted(chosen.sample(range(1, total + 1), min(total, PLACES))):
            note(place)
            run, change, random = self._prepared(number)
            counts[f"inside {change.verb}"] += self._interrupt(run, change, place)
            for _ in range(2):
                ask_once(run, random)
                do_change(run, random)
            run.look()
        return Attempt(counts.total(), dict(counts))

    def _prepared(self, number: int) -> tuple[Run, Change, Random]:
        """A memory that something was done to, and what is to be done next; the same for the same number."""
        random = Random(f"lines {self.seed} {number}")
        run = drawn_run(self.subject, self.seed, number)
        for _ in range(2):
            do_change(run, random)
        return run, drawn_change(run, random), random

    def _interrupt(self, run: Run, change: Change, place: int) -> int:
        """Interrupt a change at its line of that number; 1 if it came to that line."""
        if cut_off(change.call, place, packages_of(run.memory)):
            settle(run, change.then)
            return 1
        run.oracle = change.then
        return 0
