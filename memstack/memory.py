"""The contract: what a memory is asked and answers. Axes: rows, heads, n, q, k, key_dim, value_dim, capacity."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any, Self
from weakref import WeakValueDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memstack.entries import Entries
from memstack.errors import ShapeError


@dataclass(frozen=True, kw_only=True)
class MemoryShape:
    """How many independent memories there are and what fits into each.

    ``rows`` documents are read side by side, each with one memory per head; every one of these rows x heads memories
    holds up to ``capacity`` pairs of a key (``key_dim``) and a value (``value_dim``).
    """

    rows: int
    heads: int
    key_dim: int
    value_dim: int
    capacity: int

    def __post_init__(self) -> None:
        for name, size in asdict(self).items():
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise ShapeError(f"{name} should be a whole number of at least 1, got {size!r}")


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


MISSING_SCORE = -1e30

_NUMBERS = count()
MEMORIES: WeakValueDictionary[int, "Memory"] = WeakValueDictionary()
"""Every memory there is, by its number."""


class Memory(ABC):
    """Many independent first-in-first-out stores of (key, value) pairs behind one object, searched by inner product.

    Implements the external memory of Memorizing Transformers (arXiv 2203.08913, section 3): each row (a document of
    the batch) and each head has a store of its own; nothing in it is differentiable; the oldest entries leave first.
    """

    shape: MemoryShape
    number: Int[Tensor, ""]
    """What ``memstack.search`` and compiled code know this memory by; on the CPU."""

    def __new__(cls, *args: Any, **options: Any) -> Self:
        memory = super().__new__(cls)
        with torch.inference_mode(False):
            memory.number = torch.tensor(next(_NUMBERS), device="cpu")
        MEMORIES[int(memory.number)] = memory
        return memory

    def __getstate__(self) -> dict[str, Any]:
        """A copy has a number of its own."""
        return {name: value for name, value in vars(self).items() if name != "number"}

    @abstractmethod
    def add(self, keys: Float[Tensor, "rows heads n key_dim"], values: Float[Tensor, "rows heads n value_dim"]) -> None:
        """Append n pairs to every memory; beyond ``capacity`` the oldest ones leave.

        Raises ShapeError or NonFiniteError before anything is written. The tensors are copied and detached.
        """

    @abstractmethod
    def search(self, queries: Float[Tensor, "rows query_heads q key_dim"], k: int) -> SearchResult:
        """Find, for each query, the k stored keys of its row and head with the largest inner products.

        ``query_heads`` is a multiple of ``heads``; consecutive query heads share a memory head (grouped queries).
        ``k`` may exceed what is stored. A query that is NaN finds nothing.
        """

    @abstractmethod
    def reset(self, rows: Bool[Tensor, " rows"] | None = None) -> None:
        """Forget everything stored for the rows that are True (all rows by default)."""

    @property
    @abstractmethod
    def lengths(self) -> Int[Tensor, " rows"]:
        """How many live entries each memory of a row holds, at most ``capacity``."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return the data, never the index, in a form that any backend of the same shape can load.

        ``keys`` and ``values`` are (rows, heads, n, dim) with n the longest row's live entries, oldest first and padded
        with zeros at the right; ``written`` (rows,) counts insertions since the last reset; ``shape`` holds
        MemoryShape's five numbers in order. Safe to write with safetensors.
        """

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace everything stored by a saved state; raises StateError, changing nothing, if it does not fit."""
