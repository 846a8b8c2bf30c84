"""Wrappers round any memory: one times its verbs, one measures the recall of its answers."""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from torch import Tensor

from memstack.memory import Memory, SearchResult
from memstack.metrics import recall


class _Wrapper(Memory):
    """Passes every verb on to the memory inside."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.shape = memory.shape

    def add(self, keys: Tensor, values: Tensor) -> None:
        self.memory.add(keys, values)

    def search(self, queries: Tensor, k: int) -> SearchResult:
        return self.memory.search(queries, k)

    def reset(self, rows: Tensor | None = None) -> None:
        self.memory.reset(rows)

    @property
    def lengths(self) -> Tensor:
        return self.memory.lengths

    def state_dict(self) -> dict[str, Tensor]:
        return self.memory.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.memory.load_state_dict(state)


class TimedMemory(_Wrapper):
    """Adds up the seconds that search, add and reset take, as seen by the caller (a GPU may still be working)."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        self.seconds = {"search": 0.0, "add": 0.0, "reset": 0.0}

    def take(self) -> dict[str, float]:
        """Return the seconds per verb since the last call, and start again at zero."""
        taken, self.seconds = self.seconds, dict.fromkeys(self.seconds, 0.0)
        return taken

    def add(self, keys: Tensor, values: Tensor) -> None:
        with self._timed("add"):
            super().add(keys, values)

    def search(self, queries: Tensor, k: int) -> SearchResult:
        with self._timed("search"):
            return super().search(queries, k)

    def reset(self, rows: Tensor | None = None) -> None:
        with self._timed("reset"):
            super().reset(rows)

    @contextmanager
    def _timed(self, verb: str) -> Generator[None, None, None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[verb] += time.perf_counter() - start


class RecallProbe(_Wrapper):
    """Keeps an exact memory beside the one inside and compares their answers at every ``every``-th search."""

    def __init__(self, memory: Memory, truth: Memory, every: int = 1) -> None:
        super().__init__(memory)
        self.truth = truth
        self.every = every
        self.measured: list[float] = []
        """Recall of each compared search, as a fraction of the true neighbours."""
        self._searches = 0

    def add(self, keys: Tensor, values: Tensor) -> None:
        super().add(keys, values)
        self.truth.add(keys, values)

    def search(self, queries: Tensor, k: int) -> SearchResult:
        found = super().search(queries, k)
        # Nothing is stored at a document's start: such a search would count as a perfect one.
        if self._searches % self.every == 0 and bool(self.lengths.any()):
            self.measured.append(recall(found, self.truth.search(queries, k)))
        self._searches += 1
        return found

    def reset(self, rows: Tensor | None = None) -> None:
        super().reset(rows)
        self.truth.reset(rows)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super().load_state_dict(state)
        self.truth.load_state_dict(state)
