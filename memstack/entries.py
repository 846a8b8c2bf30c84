"""Where a search result reads its entries from: a local store (nothing is gathered) or tensors a remote store sent."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memstack.bags import inner_products, weighted_sum, without_autocast
from memstack.errors import ShapeError
from memstack.quantised import Quantised, Table


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

    def check_fresh(self) -> None:  # noqa: B027 - a memory that keeps no version of itself has nothing to check
        """Raise StaleResultError if the memory has changed since the search."""


class StoredEntries(Entries):
    """Entries read in place from two tables, by index: ``dot`` and ``mix`` never build a (..., k, dim) tensor."""

    def __init__(
        self,
        key_table: Float[Tensor, "entries key_dim"] | Quantised,
        value_table: Float[Tensor, "entries value_dim"] | Quantised,
        index: Int[Tensor, "rows query_heads q k"],
        device: torch.device,
        check_fresh: Callable[[], None],
    ) -> None:
        self._key_table = key_table
        self._value_table = value_table
        self._index = index
        self._device = device
        self._check_fresh = check_fresh

    def keys(self) -> Tensor:
        self._check_fresh()
        return self._key_table[self._index].to(self._device)

    def values(self) -> Tensor:
        self._check_fresh()
        return self._value_table[self._index].to(self._device)

    def dot(self, queries: Tensor) -> Tensor:
        return self._dot("queries", queries, self._key_table)

    def mix(self, weights: Tensor) -> Tensor:
        return self._mix(weights, self._value_table)

    def mix_keys(self, weights: Tensor) -> Tensor:
        return self._mix(weights, self._key_table)

    def dot_values(self, operand: Tensor) -> Tensor:
        return self._dot("operand", operand, self._value_table)

    def check_fresh(self) -> None:
        self._check_fresh()

    def _dot(self, name: str, operand: Tensor, table: Table) -> Tensor:
        self._check_fresh()
        *outer, k = self._index.shape
        expect_shape(name, operand, (*outer, table.shape[1]))
        local = operand.to(self._index.device, at_least_float32(operand)).flatten(0, 2)
        scores = inner_products(local, table, self._index.reshape(-1, k), self._check_fresh)
        return sent(scores.unflatten(0, tuple(outer)), operand.device)

    def _mix(self, weights: Tensor, table: Table) -> Tensor:
        self._check_fresh()
        *outer, k = self._index.shape
        expect_shape("weights", weights, (*outer, k))
        local = weights.to(self._index.device, at_least_float32(weights)).reshape(-1, k)
        mixed = weighted_sum(local, table, self._index.reshape(-1, k), self._check_fresh)
        return sent(mixed.unflatten(0, tuple(outer)), weights.device)


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


def sent(answer: Tensor, device: torch.device) -> Tensor:
    """Move an answer to where the question came from. From the CPU on, the GPU's own order does the waiting."""
    return answer.to(device, non_blocking=answer.device.type == "cpu")


def _multiplied(equation: str, fetched: Tensor, operand: Tensor) -> Tensor:
    wide = at_least_float32(operand)
    with without_autocast(operand):
        return torch.einsum(equation, fetched.to(wide), operand.to(wide))


def at_least_float32(tensor: Tensor) -> torch.dtype:
    """Half precision is widened, so that scores and sums are exact to float32 under autocast as well."""
    return torch.promote_types(tensor.dtype, torch.float32)


def expect_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ShapeError unless the tensor has exactly this shape."""
    if tuple(tensor.shape) != shape:
        raise ShapeError(f"{name} should have the shape of the search, {shape}, got {tuple(tensor.shape)}")
