"""Shard: the part of a memory that lies on one rank, and where in the whole its entries belong."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memstack.contract.copying import Copied
from memstack.contract.errors import ShardError
from memstack.contract.memory import Memory
from memstack.contract.result import SearchResult
from memstack.contract.shape import MemoryShape
from memstack.contract.state import new_state
from memstack.contract.validation import Padded
from memstack.wrappers.sharded.positions import Positions

Make = Callable[[MemoryShape], Memory]


class Part(NamedTuple):
    """What a shard holds, oldest first and padded with zeros at the right."""

    keys: Float[Tensor, "rows heads n key_dim"]
    values: Float[Tensor, "rows heads n value_dim"]
    positions: Int[Tensor, "rows n"]
    counts: Int[Tensor, " rows"]


def columns_of(
    stored: Float[Tensor, "rows heads m dim"],
    columns: Int[Tensor, "rows n"],
    there: Bool[Tensor, "rows n"] | None = None,
) -> Float[Tensor, "rows heads n dim"]:
    """Return these columns of each row, of which some need not exist; zeros instead of those that are not ``there``."""
    at = columns.clamp(max=max(stored.shape[2] - 1, 0)).to(stored.device)[:, None, :, None]
    taken = stored.gather(2, at.expand(-1, stored.shape[1], -1, stored.shape[3]))
    return taken if there is None else taken.masked_fill_(~there.to(stored.device)[:, None, :, None], 0)


class Shard(Copied):
    """A memory of this rank's own entries, and their positions.

    It has room for its share of the capacity. Where ranks add unequal numbers, a share is not what each has to hold: it
    then takes more room, so that nothing leaves before the row has outgrown it, and passes over what still lies here.
    """

    def __init__(self, shape: MemoryShape, make: Make, shards: int, rank: int) -> None:
        self.shape, self.rank, self._make = shape, rank, make
        self.local = make(replace(shape, capacity=-(-shape.capacity // shards)))
        self.positions = self._positions(self.local)

    def check_in_step(self) -> None:
        """Raise ShardError if entries and positions disagree, for an add was interrupted; waits for one under way."""
        if not torch.equal(self.local.written.cpu(), self.positions.added):
            raise ShardError("an add was interrupted: reset all rows, or load the last saved state, on every rank")

    def add(self, keys: Tensor, values: Tensor, counts: Int[Tensor, "shards rows"], padded: Padded) -> None:
        """Append this rank's entries, of each row so many, while the others append theirs."""
        new = self.positions.addition(counts, self.rank, keys.shape[2])
        room, needed = self.local.shape.capacity, int((self.positions.added + new.counts - new.first).max())
        if needed > room:
            self._hold(self.part(), self.positions.written, max(needed, min(self.shape.capacity, room * 3 // 2)))
            new = self.positions.addition(counts, self.rank, keys.shape[2])
        self.local.add(keys, values, new.counts, padded=padded)
        self.positions.add(new)
        if 2 * int(self.positions.outgrown.max()) > self.local.shape.capacity:
            self._hold(self.part(), self.positions.written, self.local.shape.capacity)

    def search(self, queries: Float[Tensor, "rows query_heads q key_dim"], k: int, exactly: bool) -> SearchResult:
        """Answer with the k best of this shard, by their positions in the row."""
        ask = self.local.search_exactly if exactly else self.local.search
        outgrown = int(self.positions.outgrown.max())
        found = ask(queries, k)
        positions = self.positions.of(found.positions)
        width = k
        # What the row has outgrown may stand before what it has not: then more of the best are asked for.
        while width < k + outgrown and self._lacks(found, positions, k):
            width = min(2 * width, k + outgrown)
            found = ask(queries, width)
            positions = self.positions.of(found.positions)
        if width > k:
            columns = (positions < 0).to(torch.uint8).sort(dim=-1, stable=True).indices[..., :k]
            found, positions = found.take(columns), positions.gather(-1, columns)
        return SearchResult(found.scores.masked_fill(positions < 0, -torch.inf), positions, found.entries)

    def reset(self, rows: Bool[Tensor, " rows"]) -> None:
        """Forget the rows that are True."""
        self.local.reset(rows)
        self.positions.without(rows)

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Let each row hold what another one held."""
        self.local.select(rows)
        self.positions.select(rows)

    def part(self) -> Part:
        """Return copies of all that is live here."""
        positions, there = self.positions.oldest_first()
        state = self.local.state_dict()
        columns = self.positions.outgrown[:, None] + torch.arange(there.shape[1], dtype=torch.int64, device="cpu")
        keys, values = (columns_of(state[name], columns, there) for name in ("keys", "values"))
        return Part(keys, values, positions, self.positions.live)

    def load(self, part: Part, written: Int[Tensor, " rows"]) -> None:
        """Replace everything by these entries of rows that were given so many in all."""
        self._hold(part, written, max(self.local.shape.capacity, int(part.counts.max())))

    def _hold(self, part: Part, written: Int[Tensor, " rows"], capacity: int) -> None:
        local = self.local
        if capacity != local.shape.capacity:
            local = self._make(replace(self.shape, capacity=capacity))
        local.load_state_dict(new_state(local.shape, part.keys, part.values, part.counts))
        positions = self._positions(local)
        positions.load(part.positions, part.counts, written)
        self.local, self.positions = local, positions

    def _positions(self, local: Memory) -> Positions:
        return Positions(self.shape.rows, local.shape.capacity, self.shape.capacity)

    def _lacks(self, found: SearchResult, positions: Int[Tensor, "rows query_heads q c"], k: int) -> bool:
        """Whether a query got fewer live columns than there may be, none of those it was given being missing."""
        wanted = self.positions.live.clamp(max=k)[:, None, None]
        return bool((((positions >= 0).sum(-1) < wanted) & found.mask.all(-1)).any())
