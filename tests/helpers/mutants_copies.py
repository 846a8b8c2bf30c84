"""More memories with one bug each: sound where they were made, and not in a copy or in another process."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from helpers.internals import inside
from helpers.mutants import ProposingMemory, breaks
from memstack_exact.search import ExactMemory
from torch import Tensor

from memstack import MemoryShape


class Shared:
    """What a library gives: something that takes itself for its own copy."""

    def __init__(self, filled: Tensor) -> None:
        self.filled = filled

    def __deepcopy__(self, _: Any) -> "Shared":
        return self


@breaks("test_copies_share_nothing")
class SharesItsIndexWithCopies(ProposingMemory):
    """Finds only what its index knows, which its copies empty."""

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__(shape)
        self.index = Shared(torch.zeros(shape.rows, shape.capacity, dtype=torch.bool, device="cpu"))

    def index_add(self, rows: Tensor, slots: Tensor, keys: Tensor) -> None:
        super().index_add(rows, slots, keys)
        self.index.filled[rows[:, None], slots] = True

    def index_forget(self, rows: Tensor) -> None:
        super().index_forget(rows)
        self.index.filled[rows] = False

    def index_search(self, queries: Tensor, k: int) -> Tensor:
        slots = super().index_search(queries, k)
        known = self.index.filled[:, None, None].expand(*slots.shape[:3], -1).gather(-1, slots)
        return slots.masked_fill(~known, -1)


@breaks("test_copies_share_nothing")
class SharesItsStoreWithCopies(ExactMemory):
    def __copy__(self) -> "SharesItsStoreWithCopies":
        made = type(self).__new__(type(self))
        vars(made).update(vars(self))
        return made


@breaks("test_copies_made_in_any_mode")
class CannotBeWrittenOnceCopied(ExactMemory):
    """Copies its keys in the mode that the copy is made in."""

    def __deepcopy__(self, memo: Any) -> "CannotBeWrittenOnceCopied":
        made = super().__deepcopy__(memo)
        store = inside(made, "store")
        store._key_vectors = store._key_vectors.clone()
        return made


@breaks("test_copies_share_nothing", "test_a_model_is_copied_with_its_memory")
class LeftInTheCopyOfAModel(ExactMemory):
    """Takes itself for its own copy, as what cannot be copied sometimes does."""

    def __deepcopy__(self, _: Any) -> "LeftInTheCopyOfAModel":
        return self


@breaks("test_a_forked_process_goes_on_with_it")
class PoolSurvivesAFork(ProposingMemory):
    """Searches in a thread of its own, which does not come along into a forked process."""

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__(shape)
        self.pool = ThreadPoolExecutor(1)

    def __getstate__(self) -> Any:
        return {name: part for name, part in super().__getstate__().items() if name != "pool"}

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self.pool = ThreadPoolExecutor(1)

    def index_search(self, queries: Tensor, k: int) -> Tensor:
        ask: Callable[[Tensor, int], Tensor] = super().index_search
        return self.pool.submit(ask, queries, k).result()
