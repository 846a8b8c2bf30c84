"""SearchResult: the answer to one search."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from memstack.contract.entries import Entries

MISSING_SCORE = -1e30
"""What ``SearchResult.dot`` says of a missing column."""


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The answer to one search: always exactly k columns, best first, missing ones at the right.

    Shapes: ``scores`` and ``positions`` are (rows, query_heads, q, k). A result describes the memory at the moment of
    the search; reading entries through it after the next ``add`` or ``reset`` raises StaleResultError.
    """

    scores: Float[Tensor, "rows query_heads q k"]
    """Inner products of query and stored key in float32; -inf where nothing was found."""
    positions: Int[Tensor, "rows query_heads q k"]
    """How many entries the row had seen since its last reset when this one was added; -1 where nothing was found."""
    entries: Entries
    """Where the found keys and values are read from."""

    @property
    def mask(self) -> Bool[Tensor, "rows query_heads q k"]:
        """True where an entry was found."""
        return self.positions >= 0

    @property
    def keys(self) -> Float[Tensor, "rows query_heads q k key_dim"]:
        """The found keys, gathered now; zeros where nothing was found. Large: prefer ``dot``."""
        return self.entries.keys()

    @property
    def values(self) -> Float[Tensor, "rows query_heads q k value_dim"]:
        """The found values, gathered now; zeros where nothing was found. Large: prefer ``mix``."""
        return self.entries.values()

    def dot(self, queries: Float[Tensor, "rows query_heads q key_dim"]) -> Float[Tensor, "rows query_heads q k"]:
        """Return the scores again, differentiable in the queries (never in the keys).

        A missing column holds ``memstack.MISSING_SCORE``: so low that a softmax gives it no weight, yet finite, so that
        the gradient of whatever multiplies the scores (a learned scale, say) stays finite too.
        """
        return self.entries.dot(queries).masked_fill(~self.mask, MISSING_SCORE)

    def mix(self, weights: Float[Tensor, "rows query_heads q k"]) -> Float[Tensor, "rows query_heads q value_dim"]:
        """Return the weighted sum of the found values, differentiable in the weights (never in the values)."""
        return self.entries.mix(weights)

    def take(self, columns: Int[Tensor, "rows query_heads q taken"]) -> "SearchResult":
        """Return the same answer with these columns only, in this order; what is read afterwards costs as little.

        For whoever finds more than k by key and keeps the k best by a score of their own.
        """
        entries = self.entries.take(columns, self.scores.shape[-1])
        return SearchResult(self.scores.gather(-1, columns), self.positions.gather(-1, columns), entries)
