"""Random operations beside the oracle: the part of a thorough check that takes most of its time."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from memstack.testing.thorough.history import Failure, History, as_python, drawn_history, failure, shortened
from memstack.testing.thorough.part import HANGS, Attempt, Note, Part
from memstack.testing.thorough.report import Finding

SHORTENING = 20.0
"""Seconds in which a history that fails is made shorter."""
ENDINGS = 10
"""Processes that may end to make the first history that ends one shorter; to see one hang takes too long."""


class Operations(Part):
    """Histories of random steps; what differs is reported with the shortest history found."""

    name: ClassVar[str] = "operations"
    about: ClassVar[str] = "random operations beside plain lists"
    unit: ClassVar[str] = "operations"
    share: ClassVar[float] = 0.6
    each: ClassVar[int] = 1

    _endings = ENDINGS

    def attempt(self, number: int, note: Note) -> Attempt:
        history = drawn_history(self.subject, self.seed, number)
        failed = failure(self.subject, history, note)
        done = len(history.steps) if failed is None else failed.step + 1
        counts = Counter(type(step).__name__.lower() for step in history.steps[:done])
        return Attempt(done, dict(counts), failed and self._finding(number, history, failed))

    def only(self, number: int, kept: list[int], note: Note) -> None:
        """Do only these steps of an attempt."""
        failure(self.subject, self._kept(number, kept), note)

    def ended(self, number: int, at: int, how: str, ends: Callable[[list[int]], bool]) -> Finding:
        whole = drawn_history(self.subject, self.seed, number)
        places = {step: place for place, step in enumerate(whole.steps)}
        left = iter(range(0 if how.startswith(HANGS) else self._endings))
        self._endings = 0

        def fails(history: History) -> Failure | None:
            kept = [places[step] for step in history.steps]
            return Failure(len(kept) - 1, how) if ends(kept) else None

        shorter = shortened(replace(whole, steps=whole.steps[: at + 1]), fails, lambda: next(left, None) is not None)
        return Finding(f"{how} in {shorter.steps[-1]!r}", number, as_python(self.subject, shorter))

    def _finding(self, number: int, history: History, failed: Failure) -> Finding:
        until = time.monotonic() + SHORTENING

        def fails(fewer: History) -> Failure | None:
            return failure(self.subject, fewer)

        cut = replace(history, steps=history.steps[: failed.step + 1])
        shorter = shortened(cut, fails, lambda: time.monotonic() < until)
        # What the shorter one says: another difference may be the first to show.
        last = failure(self.subject, shorter) or failed
        return Finding(last.what, number, as_python(self.subject, shorter))

    def _kept(self, number: int, kept: list[int]) -> History:
        whole = drawn_history(self.subject, self.seed, number)
        return replace(whole, steps=tuple(whole.steps[place] for place in kept))
