"""More memories with one bug each: in ragged adds, in rows that are selected, and in what they say of themselves."""

from dataclasses import replace
from typing import Any

import torch
from helpers.internals import inside
from helpers.mutants import breaks
from memstack_exact.search import ExactMemory
from torch import Tensor

from memstack import MemoryShape, SearchResult
from memstack.contract.handles import Handled


@breaks("test_a_ragged_batch", "test_padding_may_hold_anything", "test_wrong_lengths")
class AddsThePadding(ExactMemory):
    def add(self, keys: Tensor, values: Tensor, *_lengths: Any, **_padded: Any) -> None:
        super().add(keys, values)


@breaks("test_a_ragged_batch", "test_a_ragged_batch_beyond_the_capacity")
class PadsAtTheRightOnly(ExactMemory):
    def add(self, keys: Tensor, values: Tensor, lengths: Tensor | None = None, **_padded: Any) -> None:
        super().add(keys, values, lengths)


@breaks("test_a_ragged_batch_beyond_the_capacity")
class CutsTheChunkForAllRowsAlike(ExactMemory):
    def add(self, keys: Tensor, values: Tensor, lengths: Tensor | None = None, **padded: Any) -> None:
        if lengths is not None and keys.shape[2] > (kept := self.shape.capacity):
            keys, values, lengths = keys[:, :, -kept:], values[:, :, -kept:], lengths.clamp(max=kept)
        super().add(keys, values, lengths, **padded)


@breaks("test_rows_can_be_reordered_and_copied", "test_a_copied_row_is_independent")
class SelectMovesTheCountersOnly(ExactMemory):
    def select(self, rows: Tensor) -> None:
        super().select(torch.arange(len(rows)) if rows.dtype == torch.int64 and len(rows) == 3 else rows)
        inside(self, "ring").written = inside(self, "ring").written[rows]


@breaks("test_rows_can_be_reordered_and_copied")
class SelectSwapsInPlace(ExactMemory):
    """Row by row, so that what a row should take over may be gone already."""

    def select(self, rows: Tensor) -> None:
        for row, source in enumerate(rows.tolist()):
            chosen = torch.arange(self.shape.rows)
            chosen[row] = source
            super().select(chosen)


@breaks("test_wrong_selections")
class SelectTakesAnyNumber(ExactMemory):
    def select(self, rows: Tensor) -> None:
        super().select(rows.long() % self.shape.rows)


@breaks("test_it_says_where_it_works")
class WorksElsewhere(ExactMemory):
    def __init__(self, shape: MemoryShape) -> None:
        super().__init__(shape)
        self.device = torch.device("meta")

    def search(self, queries: Tensor, k: int) -> SearchResult:
        self.device = torch.device("cpu")
        return super().search(queries, k)


@breaks("test_it_counts_what_was_written")
class CountsTheLiveOnly(ExactMemory):
    @property
    def written(self) -> Tensor:
        return self.lengths


@breaks("test_it_can_be_searched_exactly", "test_wrong_queries")
class SearchesExactlyTheNewest(ExactMemory):
    def search_exactly(self, queries: Tensor, k: int) -> SearchResult:
        return super().search(queries.float()[..., : self.shape.key_dim].expand(*queries.shape), 1)


@breaks("test_a_copy_is_known_by_itself")
class CopiesItsHandle(ExactMemory):
    """A copy that models take for the memory it was copied from."""

    def __deepcopy__(self, memo: Any) -> "CopiesItsHandle":
        copied = CopiesItsHandle(self.shape)
        copied.load_state_dict(self.state_dict())
        copied._Handled__handle = Handled.handle_of(self)  # type: ignore[attr-defined]
        return copied


@breaks("test_the_same_question_through_both_doors")
class AnswersOnceOnly(ExactMemory):
    """All answers of one shape are the memory's own tensor, which the next question overwrites."""

    scores: Tensor = torch.empty(0)

    def search(self, queries: Tensor, k: int) -> SearchResult:
        found = super().search(queries, k)
        if self.scores.shape != found.scores.shape:
            self.scores = torch.empty_like(found.scores)
        return replace(found, scores=self.scores.copy_(found.scores))


@breaks("test_a_state_without_a_format_loads")
class NeedsAFormat(ExactMemory):
    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state if "format" in state else {})


@breaks("test_a_state_that_does_not_fit")
class TakesAnyFormat(ExactMemory):
    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict({name: part for name, part in state.items() if name != "format"})
