"""Baselines: memories that look at no key. What an approximate search has to beat to be worth anything."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from pydantic import NonNegativeInt
from torch import Tensor

from memstack.contract.memory import Memory
from memstack.contract.shape import MemoryShape
from memstack.store.indexed import IndexedMemory


class Recent(IndexedMemory):
    """Answers every query with the k newest entries: what a longer local context would have given."""

    def __init__(self, shape: MemoryShape, options: IndexedMemory.Options | None = None) -> None:
        super().__init__(shape, options)
        self.newest = torch.zeros(shape.rows, dtype=torch.int64, device="cpu")
        """The slot that was written last, by row."""

    def index_add(
        self, rows: Int[Tensor, " some"], slots: Int[Tensor, "some n"], keys: Float[Tensor, "some heads n key_dim"]
    ) -> None:
        self.newest[rows] = slots[:, -1]

    def index_search(
        self, queries: Float[Tensor, "rows heads q key_dim"], k: int
    ) -> Int[Tensor, "rows heads q candidates"]:
        # Beyond a row's length these are slots that are not live: the store drops them.
        slots = (self.newest[:, None] - torch.arange(k, dtype=torch.int64, device="cpu")) % self.shape.capacity
        return slots[:, None, None].expand(*queries.shape[:3], k).to(self.device)

    def index_forget(self, rows: Bool[Tensor, " rows"]) -> None:
        pass


class RandomEntries(Recent):
    """Answers every query with k entries of its row at random, one from each k-th of the row's age."""

    class Options(IndexedMemory.Options):
        seed: NonNegativeInt = 0

    def __init__(self, shape: MemoryShape, options: Options | None = None) -> None:
        options = options or self.Options()
        super().__init__(shape, options)
        self.seed = options.seed

    def index_search(
        self, queries: Float[Tensor, "rows heads q key_dim"], k: int
    ) -> Int[Tensor, "rows heads q candidates"]:
        # From what is stored alone: the same question gets the same answer.
        random = torch.Generator().manual_seed(self.seed + int(self.newest.sum()))
        within = torch.rand(*queries.shape[:3], k, generator=random, dtype=torch.float32, device="cpu")
        lengths = self.lengths[:, None, None, None]
        first, end = (torch.arange(k + shift, dtype=torch.int64, device="cpu") * lengths // k for shift in (0, 1))
        slots = first + (within * (end[..., 1:] - first)).long()
        # A row of fewer than k entries has no k different ones: it gives all that it has.
        return torch.where(lengths < k, torch.arange(k, dtype=torch.int64, device="cpu"), slots).to(self.device)


BASELINES: Mapping[str, Callable[[MemoryShape], Memory]] = {
    "most recent entries": Recent,
    "random entries": RandomEntries,
}
"""The baselines by name: ``BASELINES[name](shape)`` makes one."""
