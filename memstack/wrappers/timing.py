"""TimedMemory: how long the verbs of a memory take."""

import time
from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor

from memstack.contract.memory import Memory
from memstack.contract.result import SearchResult
from memstack.contract.validation import Padded
from memstack.wrappers.base import MemoryWrapper


class TimedMemory(MemoryWrapper):
    """Adds up the seconds that search, add and reset take, as seen by the caller.

    An accelerator may still be working then, unless its ``device`` is given: what it had to do before is then not
    counted, and all it is told to do is. That costs a wait at every call.
    """

    def __init__(self, memory: Memory, device: torch.device | str = "cpu") -> None:
        super().__init__(memory)
        self._waits_for = device
        self.seconds = {"search": 0.0, "add": 0.0, "reset": 0.0}

    def take(self) -> dict[str, float]:
        """Return the seconds per verb since the last call, and start again at zero."""
        taken, self.seconds = self.seconds, dict.fromkeys(self.seconds, 0.0)
        return taken

    def add(self, keys: Tensor, values: Tensor, lengths: Tensor | None = None, *, padded: Padded = "right") -> None:
        with self._timed("add"):
            super().add(keys, values, lengths, padded=padded)

    def search(self, queries: Tensor, k: int) -> SearchResult:
        with self._timed("search"):
            return super().search(queries, k)

    def search_exactly(self, queries: Tensor, k: int) -> SearchResult:
        """Answer by exact search over the same entries, and count it as a search."""
        with self._timed("search"):
            return super().search_exactly(queries, k)

    def reset(self, rows: Tensor | None = None) -> None:
        with self._timed("reset"):
            super().reset(rows)

    @contextmanager
    def _timed(self, verb: str) -> Generator[None, None, None]:
        wait_for(self._waits_for)
        start = time.perf_counter()
        try:
            yield
            wait_for(self._waits_for)
        finally:
            self.seconds[verb] += time.perf_counter() - start


def wait_for(device: torch.device | str) -> None:
    """Return once a device has done the work it was given."""
    # A CPU's results are there when the call returns; an accelerator's are only on their way.
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize(device)
