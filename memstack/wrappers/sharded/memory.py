"""ShardedMemory: one memory over several ranks, each of which adds and asks on its own."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memstack.contract.errors import ShapeError
from memstack.contract.memory import Memory
from memstack.contract.result import SearchResult
from memstack.contract.shape import MemoryShape
from memstack.contract.state import check_state, new_state
from memstack.contract.validation import Padded, check_reset, check_search, check_select
from memstack.contract.version import Version
from memstack.wrappers.sharded.agreement import Call, Told, Words, agree, dtype_number
from memstack.wrappers.sharded.entries import ShardedEntries
from memstack.wrappers.sharded.exchange import Exchange
from memstack.wrappers.sharded.group import group_of
from memstack.wrappers.sharded.merging import LARGEST, joined, merged, packed, share
from memstack.wrappers.sharded.shard import Make, Part, Shard

LIMIT_S = 60.0
"""After which a rank that says nothing counts as lost."""


class ShardedMemory(Memory):
    """One memory of which each of ``shards`` ranks holds a part: what it was given itself. ``make`` makes a part.

    Every rank adds entries of its own, which stay where they are, asks questions of its own, and gets the neighbours
    among the entries of all ranks: queries and weighted sums travel, values never do. Every call is made by all ranks
    of the group, in the same order, with as many entries and queries as each has. Entries that are added at the same
    time take turns in the row's order, rank by rank.

    Raises:
        ShardError: there are no such ranks; and, of any call, one of them was lost, is out of step, or let the others
            wait for more than ``limit`` seconds. The group has to be started again then.
        ShapeError: the capacity is more than 2**31 - 1.

    What one rank's input raises is raised on all of them, and nothing was written on any.
    """

    def __init__(self, shape: MemoryShape, make: Make, shards: int, limit: float = LIMIT_S) -> None:
        if shape.capacity > LARGEST:
            raise ShapeError(f"a memory on several ranks holds up to {LARGEST} entries, got capacity={shape.capacity}")
        self.shape = shape
        self.group = group_of(shards, limit)
        """The ranks that it lies on."""
        self.shard = Shard(shape, make, shards, self.group.rank)
        """What lies here."""
        self.device, self.exact = self.shard.local.device, self.shard.local.exact
        self._number, self._version = next(self.group.numbers), Version()
        self._changes = self._searches = 0

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self._number = next(self.group.numbers)  # a copy goes its own way

    # What every rank gives of its own --------------------------------------------------------------------------------

    def add(
        self,
        keys: Float[Tensor, "rows heads n key_dim"],
        values: Float[Tensor, "rows heads n value_dim"],
        lengths: Int[Tensor, " rows"] | None = None,
        *,
        padded: Padded = "right",
    ) -> None:
        with self.group:
            words = self._agree("add", lambda: Told(self.shard.local.check_add(keys, values, lengths, padded=padded)))
            self._version.bump()
            self.shard.add(keys, values, words.counts, padded)
            self._changes += 1

    def check_add(
        self,
        keys: Float[Tensor, "rows heads n key_dim"],
        values: Float[Tensor, "rows heads n value_dim"],
        lengths: Int[Tensor, " rows"] | None = None,
        *,
        padded: Padded = "right",
    ) -> Int[Tensor, " rows"]:
        with self.group:
            words = self._agree(
                "check_add", lambda: Told(self.shard.local.check_add(keys, values, lengths, padded=padded))
            )
            return words.own_counts.clone()

    def search(self, queries: Float[Tensor, "rows query_heads q key_dim"], k: int) -> SearchResult:
        return self._search(queries, k, exactly=False)

    def search_exactly(self, queries: Float[Tensor, "rows query_heads q key_dim"], k: int) -> SearchResult:
        return self._search(queries, k, exactly=True)

    def _search(self, queries: Tensor, k: int, exactly: bool) -> SearchResult:
        def check() -> Told:
            check_search(self.shape, queries, k)
            return Told(sizes=(queries.shape[2], queries.shape[1], int(k), 2 * dtype_number(queries) + exactly))

        with self.group:
            words = self._agree("search", check)
            words.check_same("query_heads, k and dtype of a search", [sizes[1:] for sizes in words.sizes])
            exchange = Exchange(self.group, queries.shape[2], words.most(0))
            found = self.shard.search(exchange.to_all(queries), int(k), exactly)
            best = exchange.back(packed(found.scores, found.positions, written := self.written))
        answer = merged(best, written, self.shape.capacity)
        self._searches += 1
        entries = ShardedEntries(
            exchange=exchange,
            call=Call("read", self._number, self._searches, 0),
            local=found.entries,
            source=answer.source,
            missing=answer.positions < 0,
            k=int(k),
            dims=(self.shape.key_dim, self.shape.value_dim),
            device=queries.device,
            check=self._version.guard(),
        )
        return SearchResult(answer.scores.to(queries.device), answer.positions.to(queries.device), entries)

    # What all ranks are told alike -----------------------------------------------------------------------------------

    def reset(self, rows: Bool[Tensor, " rows"] | None = None) -> None:
        with self.group:
            named = _rows_named(rows, self.shape.rows)
            if named == 0:
                self._version.bump()  # a training loop asks this at every step: nothing to say to the others
                return
            resumes = named == self.shape.rows
            words = self._agree("reset", lambda: Told(check_reset(self.shape, rows).long()), resumes)
            words.check_same("the rows of a reset", words.counts.tolist())
            self._version.bump()
            self.shard.reset(words.own_counts.bool())
            self._changes = words.latest + 1

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        with self.group:
            words = self._agree("select", lambda: Told(check_select(self.shape, rows)))
            words.check_same("the rows of a select", words.counts.tolist())
            self._version.bump()
            self.shard.select(words.own_counts)
            self._changes += 1

    @property
    def lengths(self) -> Int[Tensor, " rows"]:
        return self.written.clamp(max=self.shape.capacity)

    @property
    def written(self) -> Int[Tensor, " rows"]:
        return self.shard.positions.written.clone()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the data of all shards, on every rank: as that of one memory, which any backend can load.

        It is fetched from all of them; ``shard_state_dict`` gives what lies here.
        """
        with self.group:
            words = self._agree("state_dict", lambda: Told(self.shard.positions.live))
            n, part = int(words.counts.max()), self.shard.part()
            keys, values = (self.group.gather(_widened(stored, n)) for stored in (part.keys, part.values))
            positions = self.group.gather(_widened(part.positions[:, None, :, None], n)).flatten(2)
        parts = [Part(*each) for each in zip(keys, values, positions, words.counts, strict=True)]
        state = joined(self.shape, parts, self.written)
        return {name: held.to(self.device) if name in ("keys", "values") else held for name, held in state.items()}

    def shard_state_dict(self) -> dict[str, Tensor]:
        """Return what lies on this rank, and send nothing; ``join_shards`` makes one state of those of all ranks."""
        part = self.shard.part()
        return new_state(self.shape, part.keys, part.values, self.written) | {
            "positions": part.positions,
            "counts": part.counts.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace everything stored by a saved state, of which every rank is given the whole and keeps its share."""

        def check() -> Told:
            check_state(state, self.shape)
            written = state["written"].to("cpu", torch.int64)
            self.shard.local.check_add(state["keys"], state["values"], written.clamp(max=self.shape.capacity))
            return Told(written)

        with self.group:
            words = self._agree("load_state_dict", check, resumes=True)
            words.check_same("the state to load", words.counts.tolist())
            written, group = words.own_counts.clone(), self.group
            part = share(state["keys"], state["values"], written, self.shape.capacity, group.rank, group.size)
            self._version.bump()
            self.shard.load(part, written)
            self._changes = words.latest + 1

    def _agree(self, verb: str, check: Any, resumes: bool = False) -> Words:
        """Have all ranks check what they were given for a verb; each has its entries and their positions in step."""

        def checked() -> Told:
            told = check()
            if not resumes:
                self.shard.check_in_step()
            return told

        return agree(self.group, Call(verb, self._number, self._changes, self.shape.rows, resumes), checked)


def _rows_named(mask: Tensor | None, rows: int) -> int | None:
    """How many rows a mask names; None of what is no such mask, and has to be refused on all ranks."""
    if mask is None:
        return rows
    fits = isinstance(cast(object, mask), Tensor) and mask.dtype == torch.bool and tuple(mask.shape) == (rows,)
    return int(mask.sum()) if fits else None


def _widened(stored: Tensor, n: int) -> Tensor:
    """(rows, heads, m, dim) with as many entries as the shard that holds most."""
    return torch.nn.functional.pad(stored, (0, 0, 0, n - stored.shape[2]))
