"""Ctrl-C at random moments inside add, reset, select and load_state_dict: no pair is mixed."""

import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from random import Random
from typing import Any, ClassVar
from unittest import SkipTest

from memstack.testing.thorough.changes import Change, ask_once, drawn_change, settle
from memstack.testing.thorough.history import drawn_run
from memstack.testing.thorough.part import Attempt, Note, Part

TRIES = 40
"""Changes of one attempt, each of them with a signal under way."""


class Signals(Part):
    """Signals while a memory is changed; one that came too early or too late is not counted."""

    name: ClassVar[str] = "signals"
    about: ClassVar[str] = "Ctrl-C at random moments inside add"
    unit: ClassVar[str] = "interrupts"
    share: ClassVar[float] = 0.08
    each: ClassVar[int] = 100
    least: ClassVar[int] = 10

    def attempt(self, number: int, note: Note) -> Attempt:
        if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
            raise SkipTest("signals come to a process's main thread, and on POSIX alone")
        random = Random(f"signals {self.seed} {number}")
        run = drawn_run(self.subject, self.seed, number)
        hits, pace = Counter[str](), dict[str, float]()
        with interruptible():
            for at in range(TRIES):
                note(at)
                change = drawn_change(run, random)
                delay = random.uniform(1e-5, pace.get(change.verb, 1e-3))
                taken = _taken(change, delay)
                if taken is None:
                    hits[change.verb] += 1
                    settle(run, change.then)
                else:
                    run.oracle, pace[change.verb] = change.then, 1.1 * taken
                ask_once(run, random)
        return Attempt(hits["add"], {f"inside {verb}": count for verb, count in hits.items()})


def _taken(change: Change, delay: float) -> float | None:
    """Make a change with a signal to come after so many seconds; return how long it took, or None if it was cut off."""
    begun = time.perf_counter()
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        change.call()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        return None
    return time.perf_counter() - begun


def _interrupt(*_: object) -> None:
    """Have SIGINT sent to this process, as a terminal does."""
    signal.raise_signal(signal.SIGINT)


def _pass_over(_: object) -> None:
    """Say nothing of an error that nobody can catch."""


@contextmanager
def interruptible() -> Generator[None]:
    """Have a timer send SIGINT to this process, and SIGINT raise KeyboardInterrupt, as in a notebook."""
    handlers: list[tuple[int, Any]] = [
        (signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler)),
        (signal.SIGALRM, signal.signal(signal.SIGALRM, _interrupt)),
    ]
    told, sys.unraisablehook = sys.unraisablehook, _pass_over  # one that came in a destructor is nobody's
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = told
        for number, handler in handlers:
            signal.signal(number, handler)
