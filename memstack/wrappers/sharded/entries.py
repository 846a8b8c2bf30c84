"""ShardedEntries: an answer whose keys and values lie on several ranks; operands travel to them, sums come back."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from memstack.contract.entries import Entries
from memstack.contract.precision import at_least_float32
from memstack.contract.validation import expect_shape
from memstack.wrappers.sharded.agreement import Call, Told, agree, dtype_number
from memstack.wrappers.sharded.exchange import Exchange

Operation = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class ShardedEntries(Entries):
    """The found entries, of each shard its own. Whatever is asked of them is asked by all ranks.

    ``dot`` sends queries to every shard and gets inner products back; ``mix`` sends each shard the weights of what it
    has found and gets its weighted sum back. Each is the other's gradient.
    """

    exchange: Exchange
    call: Call
    """Of the search, whose number every operation says."""
    local: Entries
    """What this rank's shard has found for the queries of all ranks, k columns of each."""
    source: Int[Tensor, "rows query_heads q columns"]
    """Where each column of the answer was found: shard * k + the column there. On the CPU."""
    missing: Tensor
    k: int
    dims: tuple[int, int]
    """key_dim and value_dim."""
    device: torch.device
    check: Callable[[], None]

    def keys(self) -> Tensor:
        return self._read(self.local.keys)

    def values(self) -> Tensor:
        return self._read(self.local.values)

    def dot(self, queries: Tensor) -> Tensor:
        return Linear.apply(queries, self._dot_keys, self._mix_keys)

    def mix(self, weights: Tensor) -> Tensor:
        return Linear.apply(weights, self._mix_values, self._dot_values)

    def mix_keys(self, weights: Tensor) -> Tensor:
        return Linear.apply(weights, self._mix_keys, self._dot_keys)

    def dot_values(self, operand: Tensor) -> Tensor:
        return Linear.apply(operand, self._dot_values, self._mix_values)

    def take(self, columns: Tensor, k: int) -> "ShardedEntries":
        columns = columns.cpu()
        return replace(self, source=self.source.gather(-1, columns), missing=self.missing.gather(-1, columns))

    def check_fresh(self) -> None:
        self.check()

    # Each is linear in what it is given, and differentiable as such --------------------------------------------------

    def _dot_keys(self, queries: Tensor) -> Tensor:
        return self._products("queries", queries, self.dims[0], self.local.dot)

    def _dot_values(self, operand: Tensor) -> Tensor:
        return self._products("operand", operand, self.dims[1], self.local.dot_values)

    def _mix_keys(self, weights: Tensor) -> Tensor:
        return self._sums(weights, self.local.mix_keys)

    def _mix_values(self, weights: Tensor) -> Tensor:
        return self._sums(weights, self.local.mix)

    def _products(self, name: str, operand: Tensor, dim: int, local: Operation) -> Tensor:
        with self.exchange.group:
            self._agree("dot", name, operand, (*self.source.shape[:3], dim))
            found = self._chosen(self.exchange.back(local(self.exchange.to_all(operand))))
        return found.masked_fill_(self.missing, 0).to(operand.device, at_least_float32(operand))

    def _sums(self, weights: Tensor, local: Operation) -> Tensor:
        with self.exchange.group:
            self._agree("mix", "weights", weights, tuple(self.source.shape))
            given = weights.detach().cpu().masked_fill(self.missing, 0)
            spread = given.new_zeros(*given.shape[:3], self.exchange.group.size * self.k)
            spread.scatter_add_(-1, self.source, given)
            parts = spread.unflatten(-1, (self.exchange.group.size, self.k)).movedim(3, 0)
            mixed = self.exchange.back(local(self.exchange.to_each(parts))).sum(0)
        return mixed.to(weights.device, at_least_float32(weights))

    def _read(self, local: Callable[[], Tensor]) -> Tensor:
        """Fetch what was found: all k columns of every shard, for this rank's queries."""
        with self.exchange.group:
            self._agree("read")
            found = local()
            fetched = self.exchange.back(found.flatten(3)).unflatten(-1, found.shape[3:])
        fetched = fetched.permute(1, 2, 3, 0, 4, 5).flatten(3, 4)
        chosen = fetched.gather(3, self.source[..., None].expand(*self.source.shape, found.shape[-1]))
        return chosen.masked_fill_(self.missing[..., None], 0).to(self.device)

    def _chosen(self, by_shard: Tensor) -> Tensor:
        """Of each shard's k columns those that are in the answer."""
        return by_shard.movedim(0, 3).flatten(3).gather(-1, self.source)

    def _agree(self, verb: str, name: str = "", operand: Tensor | None = None, shape: tuple[int, ...] = ()) -> None:
        def check() -> Told:
            self.check()
            if operand is None:
                return Told()
            expect_shape(name, operand, shape)
            return Told(sizes=(dtype_number(operand),))

        words = agree(self.exchange.group, self.call._replace(verb=verb), check)
        words.check_same(f"the dtype of {name}", words.sizes)


class Linear(torch.autograd.Function):
    """A linear operation and its adjoint, which is its gradient, and has the operation as its own."""

    @staticmethod
    def forward(ctx: Any, operand: Tensor, operation: Operation, adjoint: Operation) -> Tensor:
        ctx.operation, ctx.adjoint, ctx.dtype = operation, adjoint, operand.dtype
        return operation(operand)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return Linear.apply(grads[0], ctx.adjoint, ctx.operation).to(ctx.dtype), None, None
