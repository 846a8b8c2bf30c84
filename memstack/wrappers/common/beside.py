"""BesideMemory: the best of a row's own memory and of a store that all rows share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Int
from torch import Tensor

from memstack.contract.entries import Entries
from memstack.contract.errors import ShapeError
from memstack.contract.memory import Memory
from memstack.contract.result import SearchResult
from memstack.contract.validation import expect_shape
from memstack.wrappers.base import MemoryWrapper
from memstack.wrappers.common.memory import CommonMemory

Search = Callable[[Tensor, int], SearchResult]


class BesideMemory(MemoryWrapper):
    """Answers with the k best of both: of a row's own memory, and of a common store.

    It is searched as if the store had been read before every document: its entries have the first positions, the row's
    own come after them, and ``lengths`` and ``written`` count both. Everything else is the own memory's: ``add``,
    ``reset`` and ``select`` change that alone, ``shape.capacity`` is what fits into it, and a state holds nothing of
    the store, so that it loads with a store and without. Of equal scores the store's come first.

    Raises:
        ShapeError: the store's rows, heads or widths are not those of the memory.
    """

    def __init__(self, memory: Memory, common: CommonMemory) -> None:
        super().__init__(memory)
        names = ("rows", "heads", "key_dim", "value_dim")
        own, other = (tuple(getattr(each.shape, name) for name in names) for each in (memory, common))
        if own != other:
            raise ShapeError(f"a common store should have the memory's ({', '.join(names)}) = {own}, got {other}")
        self.common = common
        self.exact = memory.exact and common.exact

    def search(self, queries: Tensor, k: int) -> SearchResult:
        return self._best(self.common.search, self.memory.search, queries, k)

    def search_exactly(self, queries: Tensor, k: int) -> SearchResult:
        return self._best(self.common.search_exactly, self.memory.search_exactly, queries, k)

    @property
    def lengths(self) -> Int[Tensor, " rows"]:
        return self.memory.lengths + self.common.lengths.to(self.memory.lengths.device)

    @property
    def written(self) -> Int[Tensor, " rows"]:
        return self.memory.written + self.common.written.to(self.memory.written.device)

    def _best(self, common: Search, own: Search, queries: Tensor, k: int) -> SearchResult:
        first, second = common(queries, k), own(queries, k)
        before = self.common.written.to(queries.device)[:, None, None, None]
        positions = torch.where(second.positions < 0, -1, second.positions + before)
        both = SearchResult(
            torch.cat([first.scores, second.scores], -1),
            torch.cat([first.positions, positions], -1),
            TwoEntries(first.entries, second.entries, cast("tuple[int, int, int, int]", tuple(second.scores.shape))),
        )
        return both.take(both.scores.sort(dim=-1, descending=True, stable=True).indices[..., :k])


@dataclass(frozen=True, eq=False)
class TwoEntries(Entries):
    """The columns of one answer, and to their right those of another one."""

    first: Entries
    second: Entries
    each: tuple[int, int, int, int]
    """(rows, query_heads, q, k) of either."""

    def keys(self) -> Tensor:
        return torch.cat([self.first.keys(), self.second.keys()], 3)

    def values(self) -> Tensor:
        return torch.cat([self.first.values(), self.second.values()], 3)

    def dot(self, queries: Tensor) -> Tensor:
        return torch.cat([self.first.dot(queries), self.second.dot(queries)], -1)

    def mix(self, weights: Tensor) -> Tensor:
        first, second = self._halves(weights)
        return self.first.mix(first) + self.second.mix(second)

    def mix_keys(self, weights: Tensor) -> Tensor:
        first, second = self._halves(weights)
        return self.first.mix_keys(first) + self.second.mix_keys(second)

    def dot_values(self, operand: Tensor) -> Tensor:
        return torch.cat([self.first.dot_values(operand), self.second.dot_values(operand)], -1)

    def check_fresh(self) -> None:
        self.first.check_fresh()
        self.second.check_fresh()

    def _halves(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        *outer, k = self.each
        expect_shape("weights", weights, (*outer, 2 * k))
        first, second = weights.split(k, -1)
        return first.contiguous(), second.contiguous()
