"""Memories with one bug each, most of them seen in published code, and the promise at which the kit must catch it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import torch
from helpers.internals import inside
from memstack_exact.search import ExactMemory
from torch import Tensor

from memstack import FetchedEntries, Memory, MemoryShape, SearchResult


class ProposingMemory(ExactMemory):
    """Exact search that has scored nothing itself: the slots that it proposes can be tampered with."""

    def index_search(self, queries: Tensor, k: int) -> Tensor:
        return self.nearest_slots(queries, k).sort(-1).values


BROKEN: dict[str, tuple[Callable[[MemoryShape], Memory], set[str]]] = {}


def breaks(*promises: str) -> Callable[[type[ExactMemory]], type[ExactMemory]]:
    """Register a memory under the promises that it breaks."""

    def register(broken: type[ExactMemory]) -> type[ExactMemory]:
        BROKEN[broken.__name__] = (broken, set(promises))
        return broken

    return register


@breaks("test_pairing_when_the_chunk_does_not_divide_the_capacity", "test_any_sequence_of_steps")
class ValuesOffByOneAfterOverflow(ExactMemory):
    def add(self, keys: Tensor, values: Tensor, *lengths: Any, **padded: Any) -> None:
        overflowing = bool((self.written % self.shape.capacity + keys.shape[2] > self.shape.capacity).any())
        super().add(keys, values.roll(1, 2) if overflowing else values, *lengths, **padded)


@breaks("test_oldest_leave_first", "test_lengths")
class WipedWhenFull(ExactMemory):
    def add(self, keys: Tensor, values: Tensor, *lengths: Any, **padded: Any) -> None:
        if int(self.lengths.max()) + keys.shape[2] > self.shape.capacity:
            self.reset()
        super().add(keys, values, *lengths, **padded)


@breaks("test_pairing_when_the_chunk_exceeds_the_capacity")
class KeepsTheFirstOfALargeChunk(ExactMemory):
    def add(self, keys: Tensor, values: Tensor, *lengths: Any, **padded: Any) -> None:
        capacity = self.shape.capacity
        super().add(keys[:, :, :capacity], values[:, :, :capacity], *lengths, **padded)


@breaks("test_search_right_after_the_overflowing_add")
class FindsTheNewestOnlyLater(ProposingMemory):
    def index_search(self, queries: Tensor, k: int) -> Tensor:
        slots = super().index_search(queries, k)
        full = int(self.lengths.max()) == self.shape.capacity
        newest = (self.written - 1) % self.shape.capacity
        age = (newest[:, None, None, None] - slots) % self.shape.capacity
        return slots.masked_fill(age < 5, -1) if full else slots


@breaks("test_rows_and_heads_are_independent")
class LeaksBetweenHeads(ExactMemory):
    def add(self, keys: Tensor, values: Tensor, *lengths: Any, **padded: Any) -> None:
        super().add(keys, values[:, :1].expand_as(values), *lengths, **padded)


@breaks("test_rows_and_heads_are_independent", "test_values_stay_in_their_own_row_and_are_forgotten")
class LeaksBetweenRows(ExactMemory):
    def add(self, keys: Tensor, values: Tensor, *lengths: Any, **padded: Any) -> None:
        super().add(keys, values[:1].expand_as(values), *lengths, **padded)


@breaks("test_grouped_queries")
class InterleavedQueryHeads(ExactMemory):
    def search(self, queries: Tensor, k: int) -> SearchResult:
        if queries.shape[1] <= self.shape.heads or queries.shape[1] % self.shape.heads:
            return super().search(queries, k)
        order = torch.arange(queries.shape[1]).view(-1, self.shape.heads).mT.flatten()
        found = super().search(queries[:, order], k)
        back = order.argsort()
        entries = FetchedEntries(found.keys[:, back], found.values[:, back], found.entries.check_fresh)
        return SearchResult(found.scores[:, back], found.positions[:, back], entries)


@breaks("test_what_is_added_is_copied")
class KeepsTheCallersTensors(ExactMemory):
    last: tuple[Tensor, Tensor] | None = None

    def add(self, keys: Tensor, values: Tensor, *lengths: Any, **padded: Any) -> None:
        super().add(keys, values, *lengths, **padded)
        self.last = keys, values

    def search(self, queries: Tensor, k: int) -> SearchResult:
        if self.last is not None:
            inside(self, "ring").written -= self.last[0].shape[2]
            super().add(*self.last)
            self.last = None
        return super().search(queries, k)


@breaks("test_two_memories_share_nothing")
class SharedStore(ExactMemory):
    values: ClassVar[dict[MemoryShape, Tensor]] = {}

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__(shape)
        store = inside(self, "store")
        store._value_vectors = self.values.setdefault(shape, store._value_vectors)


@breaks("test_reset_leaves_other_rows_alone", "test_a_reset_row_is_as_new")
class ResetTouchesAllRows(ExactMemory):
    def reset(self, rows: Tensor | None = None) -> None:
        super().reset(rows)
        if rows is not None and bool(rows.any()):
            super().reset()


@breaks("test_missing_columns_mix_nothing", "test_values_stay_in_their_own_row_and_are_forgotten")
class MissingReadsSlotZero(ExactMemory):
    def search(self, queries: Tensor, k: int) -> SearchResult:
        found = super().search(queries, k)
        places = torch.zeros_like(found.positions)
        zeroth = inside(self, "store").entries(places, queries.device, found.entries.check_fresh)
        values = torch.where(found.mask[..., None], found.values, zeroth.values())
        return replace(found, entries=FetchedEntries(found.keys, values, found.entries.check_fresh))


@breaks("test_no_entry_comes_twice")
class FindsEntriesTwice(ExactMemory):
    def search(self, queries: Tensor, k: int) -> SearchResult:
        found = super().search(queries, k)
        twice = torch.arange(k) // 2
        entries = FetchedEntries(found.keys[..., twice, :], found.values[..., twice, :], found.entries.check_fresh)
        return SearchResult(found.scores[..., twice], found.positions[..., twice], entries)


@breaks("test_a_result_goes_stale", "test_backward_through_a_stale_result")
class NeverStale(ExactMemory):
    def search(self, queries: Tensor, k: int) -> SearchResult:
        found = super().search(queries, k)
        return replace(found, entries=FetchedEntries(found.keys, found.values, lambda: None))


@breaks("test_search_changes_nothing")
class SearchCounts(ExactMemory):
    def search(self, queries: Tensor, k: int) -> SearchResult:
        inside(self, "version").bump()
        return super().search(queries, k)


@breaks("test_keys_that_are_not_finite", "test_a_refused_add_writes_nothing")
class TakesNaNKeys(ExactMemory):
    def add(self, keys: Tensor, values: Tensor, *lengths: Any, **padded: Any) -> None:
        super().add(keys.nan_to_num(0.0, 0.0, 0.0), values, *lengths, **padded)


@breaks("test_a_refused_add_writes_nothing", "test_keys_that_are_not_finite", "test_wrong_keys_and_values")
class CountsBeforeChecking(ExactMemory):
    def add(self, keys: Tensor, values: Tensor, *lengths: Any, **padded: Any) -> None:
        n = keys.shape[-2]
        inside(self, "ring").written += n
        super().add(keys, values, *lengths, **padded)
        inside(self, "ring").written -= n


@breaks("test_wrong_keys_and_values")
class TakesInts(ExactMemory):
    def add(self, keys: Tensor, values: Tensor, *lengths: Any, **padded: Any) -> None:
        super().add(keys.float(), values.float(), *lengths, **padded)


@breaks("test_layouts")
class NeedsContiguousKeys(ExactMemory):
    def add(self, keys: Tensor, values: Tensor, *lengths: Any, **padded: Any) -> None:
        super().add(keys.view(-1).view(keys.shape), values, *lengths, **padded)


@breaks("test_an_empty_memory_answers", "test_no_queries")
class RaisesWhenEmpty(ExactMemory):
    def search(self, queries: Tensor, k: int) -> SearchResult:
        if not bool(self.lengths.any()):
            raise RuntimeError("the index is empty")
        return super().search(queries, k)


@breaks("test_keys_of_zeros_are_entries")
class ZeroMeansEmpty(ProposingMemory):
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
class SearchesHalf(ProposingMemory):
    def index_search(self, queries: Tensor, k: int) -> Tensor:
        slots = super().index_search(queries, k)
        return slots.masked_fill(slots % 2 == 1, -1)


@breaks("test_recall_after_the_ring_has_turned_over")
class IndexIsFilledOnce(ProposingMemory):
    def index_search(self, queries: Tensor, k: int) -> Tensor:
        slots = super().index_search(queries, k)
        overwritten = (self.written - self.shape.capacity)[:, None, None, None]
        return slots.masked_fill(slots < overwritten, -1)


@breaks("test_recall_of_repeating_keys")
class OneOfEveryDuplicate(ProposingMemory):
    def index_search(self, queries: Tensor, k: int) -> Tensor:
        slots = super().index_search(queries, k)
        stored = self.stored_keys.to(torch.float32)
        keys = stored[:, :, :, None].eq(stored[:, :, None]).all(-1)
        first = keys.int().argmax(-1) == torch.arange(self.shape.capacity)
        kept = first[:, :, None].expand(*slots.shape[:3], -1).gather(-1, slots)
        return slots.masked_fill(~kept, -1)


@breaks("test_modes")
class FailsUnderInferenceMode(ExactMemory):
    def add(self, keys: Tensor, values: Tensor, *lengths: Any, **padded: Any) -> None:
        super().add(keys, values, *lengths, **padded)
        store = inside(self, "store")
        store._value_vectors = store._value_vectors.clone()


@breaks("test_any_sequence_of_steps")
class ForgetsTheSecondReset(ExactMemory):
    resets = 0

    def reset(self, rows: Tensor | None = None) -> None:
        self.resets += 1
        if self.resets != 2:
            super().reset(rows)
