"""More memories with one bug each: what belongs together is written in steps, and an interrupt parts it."""

from typing import Any

import torch
from helpers.internals import inside
from helpers.mutants import breaks
from memstack_exact.search import ExactMemory
from torch import Tensor

from memstack import MemoryShape
from memstack.store.exact import nearest_slots


@breaks("test_an_interrupted_add_is_all_or_nothing")
class ValuesAfterTheirKeysAreLive(ExactMemory):
    def add(self, keys: Tensor, values: Tensor, *lengths: Any, **padded: Any) -> None:
        super().add(keys, torch.zeros_like(values), *lengths, **padded)
        written, n = inside(self, "ring").written, keys.shape[2]
        given = lengths[0] if lengths else torch.full((self.shape.rows,), n)
        for row, count in enumerate(given.tolist()):
            new = values[row, :, :count] if padded.get("padded") != "left" else values[row, :, n - count :]
            new = new[:, -self.shape.capacity :]
            slots = (written[row] - new.shape[1] + torch.arange(new.shape[1])) % self.shape.capacity
            inside(self, "store").values[row, :, slots] = new


@breaks("test_an_interrupted_add_is_all_or_nothing")
class CountsBeforeItWrites(ExactMemory):
    def add(self, keys: Tensor, values: Tensor, *lengths: Any, **padded: Any) -> None:
        n, ring, store = keys.shape[2], inside(self, "ring"), inside(self, "store")
        if lengths or n > self.shape.capacity:
            super().add(keys, values, *lengths, **padded)
            return
        slots = (ring.written[:, None] + torch.arange(n)) % self.shape.capacity
        ring.written = ring.written + n
        for row in range(self.shape.rows):
            for head in range(self.shape.heads):
                store.keys[row, head, slots[row]] = keys[row, head].to(store.dtype)
                store.values[row, head, slots[row]] = values[row, head].to(store.dtype)
        self.index_add(torch.arange(self.shape.rows), slots, keys.to(store.dtype))


@breaks("test_recall_after_interrupted_adds")
class CodesOfOtherKeys(ExactMemory):
    """Its index learns the keys before the memory knows that it is to be told again."""

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__(shape)
        self.codes = torch.zeros(shape.rows, shape.heads, shape.capacity, shape.key_dim)

    def add(self, keys: Tensor, values: Tensor, *lengths: Any, **padded: Any) -> None:
        if not lengths and keys.shape[2] <= self.shape.capacity:
            slots = (self.written[:, None] + torch.arange(keys.shape[2])) % self.shape.capacity
            self.codes[torch.arange(self.shape.rows)[:, None], :, slots] = keys.float().transpose(1, 2)
        super().add(keys, values, *lengths, **padded)

    def index_add(self, rows: Tensor, slots: Tensor, keys: Tensor) -> None:
        self.codes[rows[:, None], :, slots] = keys.transpose(1, 2)

    def index_search(self, queries: Tensor, k: int) -> Tensor:
        return nearest_slots(self.codes, self.lengths, queries, k).sort(-1).values


@breaks("test_an_interrupted_reset_is_all_or_nothing")
class ResetsRowByRow(ExactMemory):
    def reset(self, rows: Tensor | None = None) -> None:
        if rows is None or rows.dtype != torch.bool:
            super().reset(rows)
            return
        for row in rows.nonzero().flatten().tolist():
            super().reset(torch.arange(len(rows)) == row)


@breaks("test_an_interrupted_select_is_all_or_nothing")
class SelectsRowByRow(ExactMemory):
    def select(self, rows: Tensor) -> None:
        if rows.dtype == torch.int64 and len(rows) == 3:
            rows = rows.clone()
            state, order = self.state_dict(), torch.arange(3)
            for row, source in enumerate(rows.tolist()):
                order[row] = source
                super().load_state_dict(state)
                super().select(order)
        else:
            super().select(rows)


@breaks("test_an_interrupted_load_is_all_or_nothing")
class EmptiesItselfToLoad(ExactMemory):
    def load_state_dict(self, state: Any) -> None:
        before = self.state_dict()
        try:
            self.reset()
            super().load_state_dict(state)
        except Exception:
            super().load_state_dict(before)
            raise
