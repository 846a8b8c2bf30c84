"""DealtMemory: a sharded memory for ranks that all run alike: what all are given and ask is dealt out among them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from torch import Tensor

from memstack.contract.entries import Entries
from memstack.contract.errors import MemstackError
from memstack.contract.result import SearchResult
from memstack.contract.validation import Padded, check_add, expect_shape
from memstack.wrappers.base import MemoryWrapper
from memstack.wrappers.sharded.entries import Linear, Operation
from memstack.wrappers.sharded.group import ShardGroup
from memstack.wrappers.sharded.memory import ShardedMemory
from memstack.wrappers.sharded.positions import of_rank
from memstack.wrappers.sharded.shard import columns_of


class DealtMemory(MemoryWrapper):
    """What one process would do with one memory, on several ranks that all do the same.

    Each is given the same entries and keeps its share, by their positions, and is asked the same questions, of which it
    asks its share; the answer is the same on all.
    """

    memory: ShardedMemory

    def add(self, keys: Tensor, values: Tensor, lengths: Tensor | None = None, *, padded: Padded = "right") -> None:
        try:
            counts = check_add(self.shape, keys, values, lengths, padded=padded)
        except MemstackError:
            self.memory.add(keys, values, lengths, padded=padded)  # which says so on every rank
            return
        group = self.memory.group
        columns, own = of_rank(self.written, counts, group.rank, group.size)
        begin = 0 if padded == "right" else keys.shape[2] - counts[:, None]
        self.memory.add(columns_of(keys.detach(), columns + begin), columns_of(values.detach(), columns + begin), own)

    def search(self, queries: Tensor, k: int) -> SearchResult:
        return self._ask(self.memory.search, queries, k)

    def search_exactly(self, queries: Tensor, k: int) -> SearchResult:
        return self._ask(self.memory.search_exactly, queries, k)

    def _ask(self, search: Callable[[Tensor, int], SearchResult], queries: Tensor, k: int) -> SearchResult:
        group = self.memory.group
        is_dealt = isinstance(cast(object, queries), Tensor) and queries.ndim == 4  # else it is refused there
        found = search(queries[:, :, group.rank :: group.size] if is_dealt else queries, k)
        turns = Turns(group, queries.shape[2])
        scores, positions = turns.together(found.scores), turns.together(found.positions)
        return SearchResult(scores, positions, DealtEntries(found.entries, turns, tuple(scores.shape)))


@dataclass(frozen=True)
class Turns:
    """Queries that ranks ask in turns, as one hands out cards, and their answers put together again."""

    group: ShardGroup
    q: int

    def own(self, asked: Tensor) -> Tensor:
        """Return this rank's of (rows, query_heads, q, ...)."""
        return asked[:, :, self.group.rank :: self.group.size]

    def together(self, mine: Tensor) -> Tensor:
        """Return the answers to all queries, on every rank: (rows, query_heads, q, ...)."""
        most = -(-self.q // self.group.size)
        whole = mine.new_zeros(*mine.shape[:2], most, *mine.shape[3:])
        whole[:, :, : mine.shape[2]] = mine.detach()
        answers = self.group.gather(whole)  # (ranks, rows, query_heads, most, ...)
        return answers.movedim(0, 3).flatten(2, 3)[:, :, : self.q].to(mine.device)


@dataclass(frozen=True, eq=False)
class DealtEntries(Entries):
    """The entries of an answer of which each rank has its share."""

    own: Entries
    turns: Turns
    shape: tuple[int, ...]
    """(rows, query_heads, q, k)"""

    def keys(self) -> Tensor:
        return self.turns.together(self.own.keys())

    def values(self) -> Tensor:
        return self.turns.together(self.own.values())

    def dot(self, queries: Tensor) -> Tensor:
        return self._linear(queries, self.own.dot, self.own.mix_keys)

    def mix(self, weights: Tensor) -> Tensor:
        expect_shape("weights", weights, self.shape)
        return self._linear(weights, self.own.mix, self.own.dot_values)

    def mix_keys(self, weights: Tensor) -> Tensor:
        return self._linear(weights, self.own.mix_keys, self.own.dot)

    def dot_values(self, operand: Tensor) -> Tensor:
        return self._linear(operand, self.own.dot_values, self.own.mix)

    def take(self, columns: Tensor, k: int) -> "DealtEntries":
        shape = tuple(columns.shape)
        return DealtEntries(self.own.take(self.turns.own(columns), k), self.turns, shape)

    def check_fresh(self) -> None:
        self.own.check_fresh()

    def _linear(self, operand: Tensor, operation: Operation, adjoint: Operation) -> Tensor:
        expect_shape("operand", operand, (*self.shape[:3], operand.shape[-1]))

        def dealt(ask: Operation) -> Operation:
            return lambda given: self.turns.together(ask(self.turns.own(given)))

        return Linear.apply(operand, dealt(operation), dealt(adjoint))
