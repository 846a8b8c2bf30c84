"""Several threads ask at once; then they ask while one changes what is stored."""

import itertools
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import ClassVar

from torch import Tensor

from memstack.contract.errors import StaleResultError
from memstack.contract.result import SearchResult
from memstack.testing.assertions import ensure
from memstack.testing.oracle import Oracle
from memstack.testing.thorough.changes import ask_once, do_change, drawn_change
from memstack.testing.thorough.compare import TOLERANCE, ensure_answer, score
from memstack.testing.thorough.history import drawn_run
from memstack.testing.thorough.part import Attempt, Note, Part
from memstack.testing.thorough.report import said
from memstack.testing.thorough.run import Run
from memstack.testing.thorough.steps import asked, seed_of
from memstack.testing.thorough.vectors import generator

THREADS, ASKED, CHANGES = 3, 6, 8
WAITING = 60.0
"""Seconds for a thread to end, once it may."""


class Seen:
    """Every key that ever was at a position of a memory."""

    def __init__(self) -> None:
        self._keys: dict[tuple[int, int, int], list[list[float]]] = defaultdict(list)

    def take(self, oracle: Oracle) -> None:
        """Take in what is held, or is about to be."""
        for row, heads in enumerate(oracle.entries):
            for head, entries in enumerate(heads):
                for entry in entries:
                    self._keys[row, head, entry.position].append(entry.key)

    def ensure_true(self, found: SearchResult, queries: Tensor) -> None:
        """Raise AssertionError unless every score is that of a key that was at its position."""
        scores, positions, asked_for = found.scores.tolist(), found.positions.tolist(), queries.tolist()
        for row, head, q in itertools.product(*map(range, queries.shape[:3])):
            query = asked_for[row][head][q]
            for got, position in zip(scores[row][head][q], positions[row][head][q], strict=True):
                keys = self._keys.get((row, head, position), []) if position >= 0 else []
                true = [score(query, key) for key in keys]
                near = any(abs(got - each) <= TOLERANCE * magnitude for each, magnitude in true)
                ensure(position == -1 or near, f"beside a change, position {position} scored {got}, known are {true}")


class Threads(Part):
    """Threads that search, alone and beside changes."""

    name: ClassVar[str] = "threads"
    about: ClassVar[str] = "threads that search, also while one changes"
    unit: ClassVar[str] = "searches"
    share: ClassVar[float] = 0.09
    torch_threads: ClassVar[int | None] = None
    each: ClassVar[int] = 50
    least: ClassVar[int] = 20

    def attempt(self, number: int, note: Note) -> Attempt:
        random = Random(f"threads {self.seed} {number}")
        run = drawn_run(self.subject, self.seed, number)
        for _ in range(3):
            do_change(run, random)
        alone = together([partial(_ask_alone, run, seed_of(random)) for _ in range(THREADS)])
        note(1)
        beside = self._beside(run, random)
        note(2)
        run.count()
        run.look()
        ask_once(run, random)
        return Attempt(alone + beside, {"alone": alone, "beside changes": beside, "changes": CHANGES})

    def _beside(self, run: Run, random: Random) -> int:
        seen, changed = Seen(), threading.Event()
        seen.take(run.oracle)

        def change() -> None:
            try:
                for _ in range(CHANGES):
                    drawn = drawn_change(run, random)
                    seen.take(drawn.then)
                    drawn.call()
                    run.oracle = drawn.then
            finally:
                changed.set()

        asking = [partial(_ask_beside, run, seen, seed_of(random), changed) for _ in range(THREADS)]
        return together(asking, change)


def _ask_alone(run: Run, seed: int) -> int:
    """Ask while nothing changes: every answer is the oracle's."""
    random = generator(seed)
    for k in range(1, ASKED + 1):
        queries = asked(run, random, 1, 1, "usual")
        ensure_answer(run.memory.search(queries, k), queries, k, run.oracle, run.exact)
    return ASKED


def _ask_beside(run: Run, seen: Seen, seed: int, changed: threading.Event) -> int:
    """Ask while something changes: an answer may have gone stale before it is read, and nothing worse."""
    random, count = generator(seed), 0
    while count == 0 or not changed.is_set():
        queries = asked(run, random, 1, 1, "usual")
        found = run.memory.search(queries, 4)
        seen.ensure_true(found, queries)
        with suppress(StaleResultError):
            found.mix(found.scores)
        count += 1
    return count


def together(asking: list[Callable[[], int]], meanwhile: Callable[[], None] = lambda: None) -> int:
    """Run each in a thread, and ``meanwhile`` in this one; return what they counted, or raise what they raised."""
    counted: Counter[str] = Counter()
    errors: list[str] = []

    def ask(each: Callable[[], int]) -> None:
        try:
            counted["searches"] += each()
        except Exception as error:  # noqa: BLE001 - told below, in the thread that can
            errors.append(said(error))

    threads = [threading.Thread(target=ask, args=(each,), daemon=True) for each in asking]
    for thread in threads:
        thread.start()
    meanwhile()
    for thread in threads:
        thread.join(WAITING)
    ensure(not any(thread.is_alive() for thread in threads), f"a thread that searches has not ended in {WAITING:g} s")
    ensure(not errors, f"in a thread that searches: {errors[:1]}")
    return counted["searches"]
