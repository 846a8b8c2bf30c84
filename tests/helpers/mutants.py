"""Memories with one bug each, most of them seen in published code, and the promise at which the kit must catch it."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from memstack_exact.search import ExactMemory
from torch import Tensor

from memstack import FetchedEntries, Memory, MemoryShape, SearchResult

BROKEN: dict[str, tuple[Callable[[MemoryShape], Memory], set[str]]] = {}


def breaks(*promises: str) -> Callable[[type[ExactMemory]], type[ExactMemory]]:
    """Register a memory under the promises that it breaks."""

    def register(broken: type[ExactMemory]) -> type[ExactMemory]:
        BROKEN[broken.__name__] = (broken, set(promises))
        return broken

    return register


@breaks("test_pairing_when_the_chunk_does_not_divide_the_capacity", "test_any_sequence_of_steps")
class ValuesOffByOneAfterOverflow(ExactMemory):
    def _write(self, rows: Tensor, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        overflowing = bool((slots[:, -1:] < slots[:, :1]).any())
        super()._write(rows, slots, keys, values.roll(1, 2) if overflowing else values)


@breaks("test_oldest_leave_first", "test_lengths")
class WipedWhenFull(ExactMemory):
    def add(self, keys: Tensor, values: Tensor) -> None:
        if int(self.lengths.max()) + keys.shape[2] > self.shape.capacity:
            self.reset()
        super().add(keys, values)


@breaks("test_pairing_when_the_chunk_exceeds_the_capacity")
class KeepsTheFirstOfALargeChunk(ExactMemory):
    def add(self, keys: Tensor, values: Tensor) -> None:
        capacity = self.shape.capacity
        super().add(keys[:, :, :capacity], values[:, :, :capacity])


@breaks("test_search_right_after_the_overflowing_add")
class FindsTheNewestOnlyLater(ExactMemory):
    def index_search(self, queries: Tensor, k: int) -> Tensor:
        slots = super().index_search(queries, k)
        full = int(self.lengths.max()) == self.shape.capacity
        newest = (self._written - 1) % self.shape.capacity
        age = (newest[:, None, None, None] - slots) % self.shape.capacity
        return slots.masked_fill(age < 5, -1) if full else slots


@breaks("test_rows_and_heads_are_independent")
class LeaksBetweenHeads(ExactMemory):
    def add(self, keys: Tensor, values: Tensor) -> None:
        super().add(keys, values[:, :1].expand_as(values))


@breaks("test_rows_and_heads_are_independent", "test_values_that_are_nan_or_infinite_are_kept_and_forgotten")
class LeaksBetweenRows(ExactMemory):
    def add(self, keys: Tensor, values: Tensor) -> None:
        super().add(keys, values[:1].expand_as(values))


@breaks("test_grouped_queries")
class InterleavedQueryHeads(ExactMemory):
    def search(self, queries: Tensor, k: int) -> SearchResult:
        if queries.shape[1] <= self.shape.heads or queries.shape[1] % self.shape.heads:
            return super().search(queries, k)
        order = torch.arange(queries.shape[1]).view(-1, self.shape.heads).mT.flatten()
        found = super().search(queries[:, order], k)
        back = order.argsort()
        entries = FetchedEntries(found.keys[:, back], found.values[:, back], self._freshness())
        return SearchResult(found.scores[:, back], found.positions[:, back], entries)


@breaks("test_what_is_added_is_copied")
class KeepsTheCallersTensors(ExactMemory):
    last: tuple[Tensor, Tensor] | None = None

    def add(self, keys: Tensor, values: Tensor) -> None:
        super().add(keys, values)
        self.last = keys, values

    def search(self, queries: Tensor, k: int) -> SearchResult:
        if self.last is not None:
            self._written -= self.last[0].shape[2]
            super().add(*self.last)
            self.last = None
        return super().search(queries, k)


@breaks("test_two_memories_share_nothing")
class SharedStore(ExactMemory):
    tables: ClassVar[dict[MemoryShape, Tensor]] = {}

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__(shape)
        self._value_vectors = self.tables.setdefault(shape, self._value_vectors)


@breaks("test_reset_leaves_other_rows_alone", "test_a_reset_row_is_as_new")
class ResetTouchesAllRows(ExactMemory):
    def reset(self, rows: Tensor | None = None) -> None:
        super().reset(rows)
        if rows is not None and bool(rows.any()):
            super().reset()


@breaks("test_missing_columns_mix_nothing", "test_values_that_are_nan_or_infinite_are_kept_and_forgotten")
class MissingReadsSlotZero(ExactMemory):
    def _best(self, queries: Tensor, slots: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        scores, positions, index = super()._best(queries, slots, k)
        return scores, positions, index.masked_fill(positions < 0, 0)


@breaks("test_no_entry_comes_twice")
class FindsEntriesTwice(ExactMemory):
    def _best(self, queries: Tensor, slots: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        twice = torch.cat([slots[..., :1], slots[..., :-1]], -1) if slots.shape[-1] > 1 else slots
        return super()._best(queries, twice, k)


@breaks("test_a_result_goes_stale", "test_backward_through_a_stale_result")
class NeverStale(ExactMemory):
    def _freshness(self) -> Callable[[], None]:
        return lambda: None


@breaks("test_search_changes_nothing")
class SearchCounts(ExactMemory):
    def search(self, queries: Tensor, k: int) -> SearchResult:
        self._version += 1
        return super().search(queries, k)


@breaks("test_keys_that_are_not_finite", "test_a_refused_add_writes_nothing")
class TakesNaNKeys(ExactMemory):
    def _refuse_non_finite(self, keys: Tensor) -> None:
        pass


@breaks("test_a_refused_add_writes_nothing", "test_keys_that_are_not_finite", "test_wrong_keys_and_values")
class CountsBeforeChecking(ExactMemory):
    def add(self, keys: Tensor, values: Tensor) -> None:
        n = keys.shape[-2]
        self._written += n
        super().add(keys, values)
        self._written -= n


@breaks("test_wrong_keys_and_values")
class TakesInts(ExactMemory):
    def add(self, keys: Tensor, values: Tensor) -> None:
        super().add(keys.float(), values.float())


@breaks("test_layouts")
class NeedsContiguousKeys(ExactMemory):
    def add(self, keys: Tensor, values: Tensor) -> None:
        super().add(keys.view(-1).view(keys.shape), values)


@breaks("test_an_empty_memory_answers", "test_no_queries")
class RaisesWhenEmpty(ExactMemory):
    def search(self, queries: Tensor, k: int) -> SearchResult:
        if not bool(self.lengths.any()):
            raise RuntimeError("the index is empty")
        return super().search(queries, k)


@breaks("test_keys_of_zeros_are_entries")
class ZeroMeansEmpty(ExactMemory):
    def index_search(self, queries: Tensor, k: int) -> Tensor:
        slots = super().index_search(queries, k)
        empty = (self.stored_keys.to(torch.float32) == 0).all(-1)
        return slots.masked_fill(empty[:, :, None].expand(*slots.shape[:3], -1).gather(-1, slots), -1)


@breaks("test_the_state_is_the_data", "test_a_state_saved_here_loads")
class StateNewestFirst(ExactMemory):
    def state_dict(self) -> dict[str, Tensor]:
        state = super().state_dict()
        return state | {name: state[name].flip(2) for name in ("keys", "values")}


@breaks("test_the_state_is_the_data", "test_a_state_saved_elsewhere_loads")
class PrivateStateOrder(ExactMemory):
    def state_dict(self) -> dict[str, Tensor]:
        state = super().state_dict()
        return state | {"values": state["values"].flip(1)}

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict({**state, "values": state["values"].flip(1)} if "values" in state else state)


@breaks("test_a_state_that_does_not_fit", "test_a_state_of_another_shape")
class LoadsAnything(ExactMemory):
    def load_state_dict(self, state: Any) -> None:
        self.reset()
        super().load_state_dict(state)


@breaks("test_recall_on_clustered_keys", "test_recall_after_the_ring_has_turned_over")
class SearchesHalf(ExactMemory):
    def index_search(self, queries: Tensor, k: int) -> Tensor:
        slots = super().index_search(queries, k)
        return slots.masked_fill(slots % 2 == 1, -1)


@breaks("test_recall_after_the_ring_has_turned_over")
class IndexIsFilledOnce(ExactMemory):
    def index_search(self, queries: Tensor, k: int) -> Tensor:
        slots = super().index_search(queries, k)
        overwritten = (self._written - self.shape.capacity)[:, None, None, None]
        return slots.masked_fill(slots < overwritten, -1)


@breaks("test_recall_of_repeating_keys")
class OneOfEveryDuplicate(ExactMemory):
    def index_search(self, queries: Tensor, k: int) -> Tensor:
        slots = super().index_search(queries, k)
        keys = self.stored_keys.to(torch.float32)
        first = (keys[:, :, :, None] == keys[:, :, None]).all(-1).int().argmax(-1) == torch.arange(self.shape.capacity)
        kept = first[:, :, None].expand(*slots.shape[:3], -1).gather(-1, slots)
        return slots.masked_fill(~kept, -1)


@breaks("test_modes")
class FailsUnderInferenceMode(ExactMemory):
    def add(self, keys: Tensor, values: Tensor) -> None:
        super().add(keys, values)
        self._written = self._written.clone()


@breaks("test_any_sequence_of_steps")
class ForgetsTheSecondReset(ExactMemory):
    resets = 0

    def reset(self, rows: Tensor | None = None) -> None:
        self.resets += 1
        if self.resets != 2:
            super().reset(rows)
