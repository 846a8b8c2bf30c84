"""Memories that are wrong in rare states alone, which the promises, tried one by one, do not come to."""

import os
from typing import Any, Self

import torch
from helpers.internals import inside
from memstack_exact.search import ExactMemory
from torch import Tensor

from memstack import FetchedEntries, MemoryShape, SearchResult


class WrongAfterTwoRounds(ExactMemory):
    """Its values are those of their neighbours for an add that begins after exactly two rounds of the ring."""

    def add(self, keys: Tensor, values: Tensor, *lengths: Any, **padded: Any) -> None:
        twice = bool((self.written == 2 * self.shape.capacity).all())
        with torch.autocast("cpu", enabled=False):  # which cannot move float16
            given = values.roll(1, 2) if twice and values.ndim == 4 else values
        super().add(keys, given, *lengths, **padded)


class KeepsARowAfterSelect(ExactMemory):
    """Once rows were selected, a reset of all forgets all but the last."""

    selected = False

    def select(self, rows: Tensor) -> None:
        super().select(rows)
        self.selected = True

    def reset(self, rows: Tensor | None = None) -> None:
        if self.selected and rows is None and self.shape.rows > 1:
            rows = torch.arange(self.shape.rows) < self.shape.rows - 1
        super().reset(rows)


class OffAfterManySearches(ExactMemory):
    """From its two hundredth search on, the best value found is off by one."""

    searches = 0

    def search(self, queries: Tensor, k: int) -> SearchResult:
        found = super().search(queries, k)
        self.searches += 1
        if self.searches < 200:
            return found
        values = found.values.clone()
        values[..., 0, :] += found.mask[..., :1]
        entries = FetchedEntries(found.keys, values, found.entries.check_fresh)
        return SearchResult(found.scores, found.positions, entries)


class SharesWithItsCopy(ExactMemory):
    """A copy of a memory whose ring has turned over three times shares the values."""

    def __deepcopy__(self, memo: Any) -> Self:
        made = type(self)(self.shape)
        made.load_state_dict(self.state_dict())
        if bool((self.written > 3 * self.shape.capacity).any()):
            inside(made, "store")._value_vectors = inside(self, "store")._value_vectors
        return made


class LosesTheLastOfALeftPaddedRow(ExactMemory):
    """Of a row padded at the left, full to the last column and as long as the capacity, it takes one less."""

    def add(self, keys: Tensor, values: Tensor, lengths: Tensor | None = None, *, padded: Any = "right") -> None:
        if padded == "left" and lengths is not None and tuple(lengths.shape) == (self.shape.rows,):
            lengths = torch.where(lengths == self.shape.capacity, lengths - 1, lengths)
        super().add(keys, values, lengths, padded=padded)


class AnswersWithTheLastQuery(ExactMemory):
    """Keeps the question on itself: two threads that ask at once get each other's answers."""

    def search(self, queries: Tensor, k: int) -> SearchResult:
        self.asked = queries
        for _ in range(20):
            os.sched_yield()
        return super().search(self.asked, k)


class LiveBeforeWritten(ExactMemory):
    """Writes the values after their keys have become live: an interrupt in between leaves keys beside zeros."""

    def add(self, keys: Tensor, values: Tensor, *lengths: Any, **padded: Any) -> None:
        super().add(keys, torch.zeros_like(values), *lengths, **padded)
        if not lengths or lengths[0] is None:
            inside(self, "ring").written -= keys.shape[2]
        super().add(keys, values, *lengths, **padded)


class FailsInAFork(ExactMemory):
    """Works only in the process that made it, and does not say so in words of memstack's."""

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__(shape)
        self.process = os.getpid()

    def search(self, queries: Tensor, k: int) -> SearchResult:
        if os.getpid() != self.process:
            raise RuntimeError("the threads of the pool are not here")
        return super().search(queries, k)
