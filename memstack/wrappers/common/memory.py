"""CommonMemory: many rows that read one store; queries are folded into its one row, answers unfolded again."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from memstack.contract.entries import Entries
from memstack.contract.errors import CopyError, ShapeError, StateError
from memstack.contract.memory import Memory
from memstack.contract.result import SearchResult
from memstack.contract.state import check_state, new_state
from memstack.contract.validation import Padded, check_add, check_reset, check_search, check_select, expect_shape


class CommonMemory(Memory):
    """A memory of ``rows`` rows, each of which finds what the one row of ``store`` holds.

    As a kNN-LM's datastore (arXiv 1911.00172) or RETRO's chunks (arXiv 2112.04426) are read by all. It reads only. Of
    its own a row has room for nothing: what is added is checked and leaves at once, a reset or a select finds nothing
    to forget, and a state has no entries. So the store stays what it is, and an answer never goes stale by this memory.
    ``lengths``, ``written`` and positions are those of the store.

    Raises:
        ShapeError: the store has more than one row, or ``rows`` is below 1.
    """

    def __init__(self, store: Memory, rows: int) -> None:
        if store.shape.rows != 1:
            raise ShapeError(f"a store that rows share has one row itself, got one of {store.shape.rows}")
        self.store = store
        self.shape = replace(store.shape, rows=rows)
        self.device, self.exact = store.device, store.exact

    def __deepcopy__(self, memo: dict[int, Any]) -> "CommonMemory":
        return CommonMemory(self.store, self.shape.rows)  # nobody writes to the store: copies may read the same one

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise CopyError(
            "a common store is not sent to another process: open it there, by its folder or url, with open_store"
        )

    def add(self, keys: Tensor, values: Tensor, lengths: Tensor | None = None, *, padded: Padded = "right") -> None:
        """Check what would be added, and keep nothing of it."""
        check_add(self.shape, keys, values, lengths, padded=padded)

    def search(self, queries: Tensor, k: int) -> SearchResult:
        check_search(self.shape, queries, k)
        return self._unfolded(self.store.search(folded(queries), k), queries)

    def search_exactly(self, queries: Tensor, k: int) -> SearchResult:
        check_search(self.shape, queries, k)
        return self._unfolded(self.store.search_exactly(folded(queries), k), queries)

    def reset(self, rows: Bool[Tensor, " rows"] | None = None) -> None:
        """Check the mask; the store is not forgotten."""
        check_reset(self.shape, rows)

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Check the row numbers; all rows have the same."""
        check_select(self.shape, rows)

    @property
    def lengths(self) -> Int[Tensor, " rows"]:
        """How many entries the store holds, for every row."""
        return self.store.lengths.expand(self.shape.rows).clone()

    @property
    def written(self) -> Int[Tensor, " rows"]:
        """How many entries the store was given, for every row."""
        return self.store.written.expand(self.shape.rows).clone()

    def state_dict(self) -> dict[str, Tensor]:
        """Return a state without entries: the store lies elsewhere and is not copied."""
        shape = self.shape
        keys, values = (
            torch.zeros(shape.rows, shape.heads, 0, dim, dtype=torch.float32, device="cpu")
            for dim in (shape.key_dim, shape.value_dim)
        )
        return new_state(shape, keys, values, torch.zeros(shape.rows, dtype=torch.int64, device="cpu"))

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take a state as it is saved here, which has no entries; StateError for any other."""
        check_state(state, self.shape)
        if bool(state["written"].any()):
            raise StateError("a common store is only read, and the state has entries: build a store of them instead")

    def _unfolded(self, found: SearchResult, queries: Tensor) -> SearchResult:
        rows, _, q, _ = queries.shape
        scores, positions = (unfolded(part, rows, q) for part in (found.scores, found.positions))
        return SearchResult(scores, positions, FoldedEntries(found.entries, tuple(scores.shape), self.shape.key_dim))


@dataclass(frozen=True, eq=False)
class FoldedEntries(Entries):
    """Entries of a store's one row, as many rows asked for them."""

    inner: Entries
    shape: tuple[int, ...]
    """(rows, query_heads, q, k)"""
    key_dim: int

    def keys(self) -> Tensor:
        return self._unfolded(self.inner.keys())

    def values(self) -> Tensor:
        return self._unfolded(self.inner.values())

    def dot(self, queries: Tensor) -> Tensor:
        expect_shape("queries", queries, (*self.shape[:3], self.key_dim))
        return self._unfolded(self.inner.dot(folded(queries)))

    def mix(self, weights: Tensor) -> Tensor:
        expect_shape("weights", weights, self.shape)
        return self._unfolded(self.inner.mix(folded(weights)))

    def mix_keys(self, weights: Tensor) -> Tensor:
        expect_shape("weights", weights, self.shape)
        return self._unfolded(self.inner.mix_keys(folded(weights)))

    def dot_values(self, operand: Tensor) -> Tensor:
        expect_shape("operand", operand, (*self.shape[:3], operand.shape[-1]))
        return self._unfolded(self.inner.dot_values(folded(operand)))

    def take(self, columns: Tensor, k: int) -> "FoldedEntries":
        return replace(self, inner=self.inner.take(folded(columns), k), shape=tuple(columns.shape))

    def check_fresh(self) -> None:
        self.inner.check_fresh()

    def _unfolded(self, part: Tensor) -> Tensor:
        return unfolded(part, self.shape[0], self.shape[2])


def folded(part: Tensor) -> Tensor:
    """(rows, query_heads, q, ...) -> (1, query_heads, rows * q, ...)."""
    return part.transpose(0, 1).flatten(1, 2)[None]


def unfolded(part: Tensor, rows: int, q: int) -> Tensor:
    """(1, query_heads, rows * q, ...) -> (rows, query_heads, q, ...)."""
    return part[0].unflatten(1, (rows, q)).transpose(0, 1).contiguous()
