"""RemoteLedger: which entries a remote memory holds, those that are not sent yet, and the store that has the others.

All that a memory holds is said by one ``_State``, which is replaced by one assignment. Points are sent before it
counts them, or are kept in it until they have arrived: an interrupt, a lost answer or a store that is started again
leaves entries outside of the windows at worst, where nobody looks for them.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple
from weakref import finalize

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memstack.contract.copying import Copied
from memstack.contract.errors import CopyError, ForkError, MemoryUnavailableError, UnreachableError
from memstack.contract.shape import MemoryShape
from memstack.contract.state import new_state
from memstack.contract.validation import Padded
from memstack.contract.version import Version
from memstack.store.journal import Journal
from memstack.store.remote.adding import Given, newest, numbered
from memstack.store.remote.insisting import Insistence
from memstack.store.remote.letters import MOST_POINTS, Letter, joined, letters
from memstack.store.remote.protocol import Array, Asked, Found, Points, RemoteStore, Sending
from memstack.store.remote.windows import Row, check_memories, dead_ids, ids_of, live_ids

Connect = Callable[[MemoryShape], RemoteStore]
MOST_QUERIES = 1024
"""Of one request."""
MOST_BYTES = 1 << 26
"""Of the keys and values that one answer brings along, if it has several queries."""
IN_FLIGHT = 4
"""Letters that are under way at a time."""
MOST_RANGES = 256
"""That the store is told to forget in one request."""
SLACK = 4
"""A row may have left behind one of so many parts of its capacity before the store is told to forget it."""


class _State(NamedTuple):
    rows: tuple[Row, ...]
    unsent: tuple[Letter, ...]


class RemoteLedger(Copied):
    """What a memory holds, wherever it is. ``connect`` makes a new, empty store; a copy has one of its own."""

    def __init__(
        self, shape: MemoryShape, connect: Connect, insistence: Insistence, pending: int, dtype: torch.dtype
    ) -> None:
        check_memories(shape)
        self.shape, self.version, self.journal = shape, Version(), Journal()
        self._connect, self._insistence, self._pending, self._dtype = connect, insistence, pending, dtype
        self._state = _State((Row(),) * shape.rows, ())
        self._forgetting: tuple[Sending, dict[int, int]] | None = None
        """What the store was told to forget, and below which n it will then have forgotten each row."""
        self._process = os.getpid()
        self.store = connect(shape)
        finalize(self, _close, self.store, self._process)
        # An address that is wrong is to be known soon: here a store is not waited for as long as one that was there.
        replace(insistence, patience=insistence.timeout).insist(self.store.open, insistence.timeout, lambda: 0)

    def __getstate__(self) -> Any:
        if self.store.kept:
            raise CopyError(f"a copy would write to {self.store.where} as well, which is kept: open it a second time")
        made = (self.shape, self._connect, self._insistence, self._pending, self._dtype)
        return {"made": made, "held": self.alone(self.state)}

    def __setstate__(self, state: Any) -> None:
        self.__init__(*state["made"])
        held: dict[str, Tensor] = state["held"]
        self.load(held["keys"], held["values"], held["written"], range(self.shape.rows))

    def alone(self, ask: Callable[[], Any]) -> Any:
        """Do something while no other thread is at the memory."""
        if os.getpid() != self._process:
            raise ForkError(
                f"this process was forked from the one that made the memory, and both would write to "
                f"{self.store.where}: make it in here, or start this process with 'spawn'"
            )
        return self.journal.alone(ask)

    @property
    def rows(self) -> tuple[Row, ...]:
        """What each row holds, all of one moment."""
        return self._state.rows

    @property
    def unsent(self) -> int:
        """How many entries of single heads the store has not acknowledged."""
        return sum(map(len, self._state.unsent))

    # Changes ----------------------------------------------------------------------------------------------------

    def add(self, keys: Tensor, values: Tensor, counts: Int[Tensor, " rows"], padded: Padded, overlap: bool) -> None:
        """Append so many entries to each row: now, or, where they may wait, in the course of time."""
        given = newest(keys, values, counts, padded, self.shape.capacity)
        size = self.shape.heads * sum(each.keys.shape[1] for each in given)
        if overlap and size <= self._pending:
            self._make_room(size)
            points, rows = self._numbered(given, self.rows)
            self._hold(_State(rows, (*self._state.unsent, *letters(points))))
            self._begin()
        else:
            self._hold_sent(given, {})
        self._tidy()

    def reset(self, forgotten: Bool[Tensor, " rows"]) -> None:
        """Forget the rows that are True."""
        rows = tuple(
            row._replace(live=(), written=0) if gone else row
            for row, gone in zip(self.rows, forgotten.tolist(), strict=True)
        )
        self._hold(_State(rows, self._still_needed(rows)))
        self._tidy()

    def load(self, keys: Tensor, values: Tensor, written: Int[Tensor, " rows"], chosen: Iterable[int]) -> None:
        """Let the chosen rows hold what a state says that they hold."""
        live = written.clamp(max=self.shape.capacity).tolist()
        given = [Given(row, keys[row, :, : live[row]], values[row, :, : live[row]], 0) for row in chosen]
        begun = {each.row: int(written[each.row]) - live[each.row] for each in given}
        self._hold_sent(given, begun)
        self._tidy()

    def resume(self, entries: int) -> None:
        """Hold what the store has of earlier: the first so many entries of every row."""
        points, wanted = self._insist(self.store.count, self._insistence.timeout), entries * len(self.rows)
        if points < wanted * self.shape.heads:
            raise self._lost(f"{points:,} points are there of {wanted:,} x {self.shape.heads} heads")
        self._hold(_State((Row.of(entries),) * len(self.rows), ()))

    def flush(self) -> None:
        """Wait until all that was added has arrived."""
        while self._state.unsent:
            self._begin()
            self._deliver(self._state.unsent[0])

    # Questions --------------------------------------------------------------------------------------------------

    def search(self, queries: Float[Tensor, "rows heads q key_dim"], k: int, exactly: bool) -> Found:
        """Return the k nearest of each query, which are finite, of all rows and heads; flat over these."""
        self.flush()
        parts: list[Found] = []
        shape = self.shape
        each = 4 * k * (shape.key_dim + shape.value_dim)
        for asked in self._requests(queries, max(1, min(MOST_QUERIES, MOST_BYTES // each))):
            seconds = self._insistence.deadline(queries=sum(len(each.queries) for each in asked))
            parts.append(self._insist(partial(self.store.search, asked, k, exactly=exactly), seconds))
            if exactly:
                self._check_all_found(asked, parts[-1], k)
        return Found(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that is held, oldest first."""
        self.flush()
        shape, rows = self.shape, self.rows
        longest = max(row.length for row in rows)
        keys, values = (
            torch.zeros(shape.rows, shape.heads, longest, dim, dtype=self._dtype, device="cpu")
            for dim in (shape.key_dim, shape.value_dim)
        )
        for number, row in enumerate(rows):
            points = self._fetched(ids_of(number, shape.heads, row.numbers()).reshape(-1))
            for held, got in ((keys, points.keys), (values, points.values)):
                held[number, :, : row.length] = torch.from_numpy(got).view(shape.heads, row.length, got.shape[1])
        written = torch.tensor([row.written for row in rows], dtype=torch.int64, device="cpu")
        return new_state(shape, keys, values, written)

    # How it is done ---------------------------------------------------------------------------------------------

    def _insist(self, attempt: Callable[[float], Any], seconds: float) -> Any:
        return self._insistence.insist(attempt, seconds, lambda: self.unsent)

    def _hold(self, state: _State) -> None:
        self.version.bump()
        self._state = state

    def _hold_sent(self, given: Sequence[Given], begun: dict[int, int]) -> None:
        """Send entries, and count them once they are there; ``begun`` of a row replaces what it held.

        The n that they take are used up first: whatever becomes of this, no other entry gets them.
        """
        points, rows = self._numbered(given, tuple(_begun(row, begun.get(i)) for i, row in enumerate(self.rows)))
        taken = tuple(row._replace(next=new.next) for row, new in zip(self.rows, rows, strict=True))
        self._state = self._state._replace(rows=taken)
        for letter in letters(points):
            self._insist(partial(letter.arrive, self.store), self._seconds(letter))
        self._hold(_State(rows, self._still_needed(rows)))

    def _numbered(self, given: Sequence[Given], rows: Sequence[Row]) -> tuple[Points, tuple[Row, ...]]:
        return numbered(given, rows, self.shape, self._dtype)

    def _seconds(self, letter: Letter) -> float:
        return self._insistence.deadline(entries=len(letter))

    def _still_needed(self, rows: Sequence[Row]) -> tuple[Letter, ...]:
        """The letters that hold something of a row that is not empty."""
        heads = self.shape.heads
        return tuple(
            letter for letter in self._state.unsent if any(rows[memory // heads].live for memory in letter.memories)
        )

    def _make_room(self, size: int) -> None:
        """Wait until so many more entries may be unsent."""
        arrived = {id(letter) for letter in self._state.unsent if letter.arrived()}
        self._state = self._state._replace(unsent=tuple(e for e in self._state.unsent if id(e) not in arrived))
        while self.unsent + size > self._pending:
            self._begin()
            self._deliver(self._state.unsent[0])

    def _begin(self) -> None:
        for letter in self._state.unsent[:IN_FLIGHT]:
            letter.begin(self.store, self._seconds(letter))

    def _deliver(self, letter: Letter) -> None:
        self._insist(partial(letter.arrive, self.store), self._seconds(letter))
        self._state = self._state._replace(unsent=tuple(e for e in self._state.unsent if e is not letter))

    def _requests(self, queries: Float[Tensor, "rows heads q key_dim"], most: int) -> Iterator[list[Asked]]:
        """Cut queries into requests of at most so many; those of a memory stay together where they fit."""
        asked, size = list[Asked](), 0
        for memory, each in enumerate(queries.flatten(0, 1).numpy()):
            live = live_ids(self.rows[memory // self.shape.heads], memory)
            for begin in range(0, len(each), most):
                part = each[begin : begin + most]
                if asked and size + len(part) > most:
                    yield asked
                    asked, size = [], 0
                asked.append(Asked(live, part))
                size += len(part)
        yield asked

    def _check_all_found(self, asked: Sequence[Asked], found: Found, k: int) -> None:
        """Raise MemoryUnavailableError where exact search found fewer entries than there are."""
        wanted = [min(k, sum(map(len, each.live))) for each in asked for _ in each.queries]
        if bool(((found.ids >= 0).sum(1) < wanted).any()):
            raise self._lost("a search found fewer entries than were stored")

    def _fetched(self, ids: Array) -> Points:
        """Return these points, in this order."""
        parts = [
            self._insist(partial(self.store.fetch, part), self._insistence.deadline(entries=len(part)))
            for part in (ids[begin : begin + MOST_POINTS] for begin in range(0, len(ids), MOST_POINTS))
        ]
        points = joined(parts, self.shape.key_dim, self.shape.value_dim)
        if len(points.ids) != len(ids):
            raise self._lost(f"{len(points.ids):,} of {len(ids):,} entries are there")
        order = np.argsort(points.ids)[np.argsort(np.argsort(ids))]
        return Points(*(part[order] for part in points))

    def _lost(self, what: str) -> MemoryUnavailableError:
        return MemoryUnavailableError(
            f"the store at {self.store.where} has lost entries that it had acknowledged ({what}): reset the memory, "
            "or load a saved state"
        )

    def _tidy(self) -> None:
        """Have the store forget what is no longer live, now and then; nothing depends on it."""
        self._note_forgotten()
        dead = max(self.shape.capacity // SLACK, 1)
        chosen = [number for number, row in enumerate(self.rows) if row.first - row.forgotten > dead]
        chosen = chosen[: max(1, MOST_RANGES // self.shape.heads)]
        if chosen and self._forgetting is None:
            ids = dead_ids(self.rows, self.shape.heads, chosen)
            try:
                sending = self.store.forget(ids, self._insistence.deadline(entries=sum(map(len, ids))))
            except UnreachableError:
                return  # at another time
            self._forgetting = sending, {number: self.rows[number].first for number in chosen}

    def _note_forgotten(self) -> None:
        if self._forgetting is None or not self._forgetting[0].done():
            return
        (sending, below), self._forgetting = self._forgetting, None
        try:
            sending.result()
        except UnreachableError:
            return
        rows = tuple(row._replace(forgotten=below.get(i, row.forgotten)) for i, row in enumerate(self.rows))
        self._state = self._state._replace(rows=rows)


def _begun(row: Row, begin: int | None) -> Row:
    """A row as it was, or emptied, as if so many entries had come and gone."""
    return row if begin is None else row._replace(live=(), written=begin)


def _close(store: RemoteStore, process: int) -> None:
    """Give up a store; in a process that was forked from the one that has it, leave it alone."""
    if os.getpid() == process:
        store.close()
