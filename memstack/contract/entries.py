"""Entries: where a search result reads its keys and values from."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memstack.contract.precision import at_least_float32, without_autocast
from memstack.contract.validation import expect_shape


class Entries(ABC):
    """The found entries, (rows, query_heads, q, k) of them; zeros stand where nothing was found."""

    @abstractmethod
    def keys(self) -> Float[Tensor, "rows query_heads q k key_dim"]: ...

    @abstractmethod
    def values(self) -> Float[Tensor, "rows query_heads q k value_dim"]: ...

    @abstractmethod
    def dot(self, queries: Float[Tensor, "rows query_heads q key_dim"]) -> Float[Tensor, "rows query_heads q k"]: ...

    @abstractmethod
    def mix(self, weights: Float[Tensor, "rows query_heads q k"]) -> Float[Tensor, "rows query_heads q value_dim"]: ...

    def mix_keys(self, weights: Float[Tensor, "rows query_heads q k"]) -> Float[Tensor, "rows query_heads q key_dim"]:
        """Return weighted sums of the keys: what the gradient of ``dot`` is made of. By default they are gathered."""
        return _multiplied("rhqkd,rhqk->rhqd", self.keys(), weights)

    def dot_values(
        self, operand: Float[Tensor, "rows query_heads q value_dim"]
    ) -> Float[Tensor, "rows query_heads q k"]:
        """Return inner products with the values: what the gradient of ``mix`` is made of. By default gathered."""
        return _multiplied("rhqkd,rhqd->rhqk", self.values(), operand)

    def take(self, columns: Int[Tensor, "rows query_heads q taken"], k: int) -> "Entries":
        """Return the entries of these of the k columns, in this order. By default whatever is asked is asked of all."""
        return _TakenEntries(self, columns, k)

    def check_fresh(self) -> None:  # noqa: B027 - a memory that keeps no version of itself has nothing to check
        """Raise StaleResultError if the memory has changed since the search."""


class FetchedEntries(Entries):
    """Entries that a remote store sent along with its answer, as (rows, query_heads, q, k, dim) tensors."""

    def __init__(self, keys: Tensor, values: Tensor, check_fresh: Callable[[], None]) -> None:
        self._keys = keys.detach()
        self._values = values.detach()
        self._check_fresh = check_fresh

    def keys(self) -> Tensor:
        self._check_fresh()
        return self._keys

    def values(self) -> Tensor:
        self._check_fresh()
        return self._values

    def dot(self, queries: Tensor) -> Tensor:
        self._check_fresh()
        expect_shape("queries", queries, (*self._keys.shape[:3], self._keys.shape[4]))
        return self._einsum("rhqkd,rhqd->rhqk", self._keys, queries)

    def mix(self, weights: Tensor) -> Tensor:
        self._check_fresh()
        expect_shape("weights", weights, tuple(self._values.shape[:4]))
        return self._einsum("rhqkd,rhqk->rhqd", self._values, weights)

    def check_fresh(self) -> None:
        self._check_fresh()

    def _einsum(self, equation: str, fetched: Tensor, operand: Tensor) -> Tensor:
        result = _multiplied(equation, fetched, operand)
        if result.requires_grad:
            # The fetched tensors are still right then, but a result must go stale alike with every backend.
            result.register_hook(self._check_fresh_in_backward)
        return result

    def _check_fresh_in_backward(self, _: Tensor) -> None:
        self._check_fresh()


class _TakenEntries(Entries):
    """Some columns of other entries, which know of no taking: they are asked for all, with zeros for the rest."""

    def __init__(self, entries: Entries, columns: Tensor, k: int) -> None:
        self._entries, self._columns, self._k = entries, columns, k

    def keys(self) -> Tensor:
        return self._gathered(self._entries.keys())

    def values(self) -> Tensor:
        return self._gathered(self._entries.values())

    def dot(self, queries: Tensor) -> Tensor:
        return self._entries.dot(queries).gather(-1, self._columns)

    def mix(self, weights: Tensor) -> Tensor:
        return self._entries.mix(self._spread(weights))

    def mix_keys(self, weights: Tensor) -> Tensor:
        return self._entries.mix_keys(self._spread(weights))

    def dot_values(self, operand: Tensor) -> Tensor:
        return self._entries.dot_values(operand).gather(-1, self._columns)

    def check_fresh(self) -> None:
        self._entries.check_fresh()

    def _gathered(self, found: Tensor) -> Tensor:
        return found.gather(3, self._columns[..., None].expand(*self._columns.shape, found.shape[-1]))

    def _spread(self, weights: Tensor) -> Tensor:
        expect_shape("weights", weights, tuple(self._columns.shape))
        return weights.new_zeros(*weights.shape[:3], self._k).scatter_add(-1, self._columns, weights)


def _multiplied(equation: str, fetched: Tensor, operand: Tensor) -> Tensor:
    wide = at_least_float32(operand)
    with without_autocast(operand):
        return torch.einsum(equation, fetched.to(wide), operand.to(wide))
