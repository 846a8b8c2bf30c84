"""StoredEntries: a search result that reads the store in place; nothing is gathered."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memstack.contract.entries import Entries
from memstack.contract.precision import at_least_float32, sent
from memstack.contract.validation import expect_shape
from memstack.store.embedding_bag import inner_products, weighted_sum
from memstack.store.int8 import Quantised, Vectors


class StoredEntries(Entries):
    """Entries read in place from the store, by index: ``dot`` and ``mix`` never build a (..., k, dim) tensor."""

    def __init__(
        self,
        keys: Float[Tensor, "entries key_dim"] | Quantised,
        values: Float[Tensor, "entries value_dim"] | Quantised,
        index: Int[Tensor, "rows query_heads q k"],
        device: torch.device,
        check_fresh: Callable[[], None],
    ) -> None:
        self._keys = keys
        self._values = values
        self._index = index
        self._device = device
        self._check_fresh = check_fresh

    def keys(self) -> Tensor:
        return self._read(self._keys)

    def values(self) -> Tensor:
        return self._read(self._values)

    def dot(self, queries: Tensor) -> Tensor:
        return self._dot("queries", queries, self._keys)

    def mix(self, weights: Tensor) -> Tensor:
        return self._mix(weights, self._values)

    def mix_keys(self, weights: Tensor) -> Tensor:
        return self._mix(weights, self._keys)

    def dot_values(self, operand: Tensor) -> Tensor:
        return self._dot("operand", operand, self._values)

    def take(self, columns: Tensor, k: int) -> "StoredEntries":
        index = self._index.gather(-1, columns.to(self._index.device))
        return StoredEntries(self._keys, self._values, index, self._device, self._check_fresh)

    def check_fresh(self) -> None:
        self._check_fresh()

    def _read(self, vectors: Vectors) -> Tensor:
        self._check_fresh()
        found = vectors[self._index].to(self._device)
        self._check_fresh()  # another thread may have begun to write meanwhile
        return found

    def _dot(self, name: str, operand: Tensor, vectors: Vectors) -> Tensor:
        self._check_fresh()
        *outer, k = self._index.shape
        expect_shape(name, operand, (*outer, vectors.shape[1]))
        local = operand.to(self._index.device, at_least_float32(operand)).flatten(0, 2)
        scores = inner_products(local, vectors, self._index.reshape(-1, k), self._check_fresh)
        self._check_fresh()
        return sent(scores.unflatten(0, tuple(outer)), operand.device)

    def _mix(self, weights: Tensor, vectors: Vectors) -> Tensor:
        self._check_fresh()
        *outer, k = self._index.shape
        expect_shape("weights", weights, (*outer, k))
        local = weights.to(self._index.device, at_least_float32(weights)).reshape(-1, k)
        mixed = weighted_sum(local, vectors, self._index.reshape(-1, k), self._check_fresh)
        self._check_fresh()
        return sent(mixed.unflatten(0, tuple(outer)), weights.device)
