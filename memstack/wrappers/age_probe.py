"""AgeProbe: how long ago what a memory finds was added, measured while it is used."""

import torch
from torch import Tensor

from memstack.contract.memory import Memory
from memstack.contract.result import SearchResult
from memstack.wrappers.base import MemoryWrapper


class AgeProbe(MemoryWrapper):
    """Looks at every ``every``-th search, for up to ``sampled`` of its queries: how many entries ago was what it found?

    Nothing is searched for it, and no device is waited for before ``take``. Searches of an empty memory do not count.
    """

    def __init__(self, memory: Memory, every: int = 1, *, sampled: int = 64) -> None:
        super().__init__(memory)
        self.every, self.sampled = every, sampled
        self._searches = 0
        self._sums: list[Tensor] = []

    def take(self) -> float | None:
        """Return the mean age of what was looked at since the last call, 1 for a row's newest; None if nothing was."""
        taken, self._sums = self._sums, []
        if not taken:
            return None
        total, count = torch.stack(taken).sum(0).tolist()
        return total / count if count else None

    def search(self, queries: Tensor, k: int) -> SearchResult:
        found = super().search(queries, k)
        if bool(self.lengths.any()):
            if self._searches % self.every == 0 and queries.numel():
                self._look(found)
            self._searches += 1
        return found

    def _look(self, found: SearchResult) -> None:
        step = -(-found.positions.shape[2] // self.sampled)
        positions = found.positions[:, :, ::step]
        there = positions >= 0
        ages = self.written.to(positions.device)[:, None, None, None] - positions
        sums = ages.masked_fill(~there, 0).sum(dtype=torch.float64), there.sum(dtype=torch.float64)
        self._sums.append(torch.stack(sums))
