"""More memories with one bug each: sound stores whose answers are wrong."""

from dataclasses import replace
from typing import Any

import torch
from helpers.mutants import breaks
from memstack_exact.search import ExactMemory
from torch import Tensor

from memstack import Entries, FetchedEntries, SearchResult


class Edited(ExactMemory):
    """A memory whose answers are tampered with."""

    def edit(self, found: SearchResult) -> dict[str, Any]:
        raise NotImplementedError

    def search(self, queries: Tensor, k: int) -> SearchResult:
        found = super().search(queries, k)
        return replace(found, **self.edit(found))


@breaks("test_scores_are_true_and_best_first", "test_k_of_one", "test_dot_gives_the_scores_again")
class NegatedScores(Edited):
    def edit(self, found: SearchResult) -> dict[str, Any]:
        return {"scores": torch.where(found.mask, -found.scores, found.scores)}


@breaks("test_fewer_entries_than_k", "test_an_empty_memory_answers")
class MissingIsEntryZero(Edited):
    def edit(self, found: SearchResult) -> dict[str, Any]:
        return {"positions": found.positions.clamp(min=0)}


@breaks("test_fewer_entries_than_k", "test_one_entry")
class MissingIsNaN(Edited):
    def edit(self, found: SearchResult) -> dict[str, Any]:
        return {"scores": found.scores.masked_fill(~found.mask, torch.nan)}


@breaks("test_fewer_entries_than_k", "test_k_beyond_the_capacity")
class NarrowAnswers(Edited):
    def edit(self, found: SearchResult) -> dict[str, Any]:
        live = int(self.lengths.max())
        return {"scores": found.scores[..., :live], "positions": found.positions[..., :live]}


@breaks("test_k_of_one", "test_scores_are_true_and_best_first")
class RoundedScores(Edited):
    def edit(self, found: SearchResult) -> dict[str, Any]:
        return {"scores": found.scores.bfloat16().float()}


@breaks("test_search_under_autocast")
class RoundedUnderAutocast(Edited):
    def edit(self, found: SearchResult) -> dict[str, Any]:
        autocast = torch.is_autocast_enabled("cpu")
        return {"scores": found.scores.bfloat16().float() if autocast else found.scores}


@breaks("test_positions_count_insertions", "test_pairing_when_the_chunk_does_not_divide_the_capacity")
class PositionsAreSlots(Edited):
    def edit(self, found: SearchResult) -> dict[str, Any]:
        slots = found.positions % self.shape.capacity
        return {"positions": slots.masked_fill(~found.mask, -1)}


@breaks("test_a_query_that_is_nan_finds_nothing")
class NaNFindsSomething(Edited):
    def edit(self, found: SearchResult) -> dict[str, Any]:
        return {"positions": found.positions.clamp(min=min(0, int(self.lengths.min()) - 1))}


@breaks("test_ties")
class BlendsTies(Edited):
    def edit(self, found: SearchResult) -> dict[str, Any]:
        tied = (found.scores[..., :, None] == found.scores[..., None, :]).float()
        blended = torch.einsum("rhqkj,rhqjd->rhqkd", tied / tied.sum(-1, keepdim=True), found.values)
        return {"entries": FetchedEntries(found.keys, blended * found.mask[..., None], found.entries.check_fresh)}


@breaks("test_backward_through_a_stale_result")
class UnguardedBackward(Edited):
    class Unhooked(FetchedEntries):
        def dot(self, queries: Tensor) -> Tensor:
            self._check_fresh()
            return torch.einsum("rhqkd,rhqd->rhqk", self._keys.to(queries), queries)

        def mix(self, weights: Tensor) -> Tensor:
            self._check_fresh()
            return torch.einsum("rhqkd,rhqk->rhqd", self._values.to(weights), weights)

    def edit(self, found: SearchResult) -> dict[str, Any]:
        return {"entries": self.Unhooked(found.keys, found.values, found.entries.check_fresh)}


@breaks("test_gradient_of_dot", "test_gradient_of_mix", "test_gradient_in_float32")
class NoGradients(Edited):
    class Detached(FetchedEntries):
        def dot(self, queries: Tensor) -> Tensor:
            return super().dot(queries.detach()) + 0 * queries.sum()

        def mix(self, weights: Tensor) -> Tensor:
            return super().mix(weights.detach()) + 0 * weights.sum()

    def edit(self, found: SearchResult) -> dict[str, Any]:
        return {"entries": self.Detached(found.keys, found.values, found.entries.check_fresh)}


@breaks("test_take_gives_these_columns", "test_dot_and_mix_of_taken_columns")
class TakesTheFirstColumns(Edited):
    """Scores and positions are in the order asked for, keys and values in that of the answer."""

    class First(FetchedEntries):
        def take(self, columns: Tensor, k: int) -> Entries:
            kept = columns.shape[-1]
            return FetchedEntries(self._keys[..., :kept, :], self._values[..., :kept, :], self._check_fresh)

    def edit(self, found: SearchResult) -> dict[str, Any]:
        return {"entries": self.First(found.keys, found.values, found.entries.check_fresh)}


@breaks("test_a_taken_answer_goes_stale")
class TakenIsNeverStale(Edited):
    class Kept(FetchedEntries):
        def take(self, columns: Tensor, k: int) -> Entries:
            taken = super().take(columns, k)
            return FetchedEntries(taken.keys(), taken.values(), lambda: None)

    def edit(self, found: SearchResult) -> dict[str, Any]:
        return {"entries": self.Kept(found.keys, found.values, found.entries.check_fresh)}


@breaks("test_an_underfilled_memory_gives_finite_gradients", "test_dot_gives_the_scores_again")
class MissingDotIsInfinite(Edited):
    class Infinite(SearchResult):
        def dot(self, queries: Tensor) -> Tensor:
            return self.entries.dot(queries).masked_fill(~self.mask, -torch.inf)

    def search(self, queries: Tensor, k: int) -> SearchResult:
        found = ExactMemory.search(self, queries, k)
        return self.Infinite(found.scores, found.positions, found.entries)
