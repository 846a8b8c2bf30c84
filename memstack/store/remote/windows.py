"""Windows: which ids of each row are live, and which insertion each is.

An id is ``memory << BITS | n``: the number of a (row, head) and, the same for all heads of a row, of an entry that was
sent for it. No n is ever given to two entries, whatever was reset, loaded or broken off in between, so that sending
an entry again, even long after, changes nothing; and what is live is a range of them, so that a reset or an eviction is
done before the store has heard of it. A row has several ranges only where some n between them were given to entries
that then did not come to be.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from memstack.contract.errors import ShapeError
from memstack.contract.shape import MemoryShape
from memstack.store.remote.protocol import Array, Ranges

BITS = 36
"""Of n; a whole id is exact in float64, in which stores compare."""
MOST_MEMORIES = 1 << (52 - BITS)
NONE: Ranges = (range(0),)
"""What no id is among."""


class Row(NamedTuple):
    """The live entries of a row, oldest first."""

    live: Ranges = ()
    written: int = 0
    """How many entries it was given since its last reset."""
    next: int = 0
    """The n of the next entry; never goes back."""
    forgotten: int = 0
    """Below it the store was told to forget everything."""

    @classmethod
    def of(cls, entries: int) -> "Row":
        """A row that was given so many, and holds them all."""
        return cls((range(entries),) if entries else (), entries, entries)

    @property
    def length(self) -> int:
        return sum(map(len, self.live))

    @property
    def first(self) -> int:
        """The n of the oldest live entry, or of the next one."""
        return self.live[0].start if self.live else self.next

    def extended(self, sent: int, passed: int, first: int, capacity: int) -> "Row":
        """The row with so many new entries, from n ``first`` on, before which others came that leave at once."""
        live = list(self.live)
        if live and live[-1].stop == first and not passed:
            live[-1] = range(live[-1].start, first + sent)
        elif sent:
            live.append(range(first, first + sent))
        surplus = sum(map(len, live)) - capacity
        while surplus > 0:
            oldest = live.pop(0)
            kept = oldest[surplus:]
            live[:0] = [kept] if kept else []
            surplus -= len(oldest) - len(kept)
        return self._replace(live=tuple(live), written=self.written + sent + passed, next=max(self.next, first + sent))

    def numbers(self) -> Array:
        """The n of every live entry, oldest first."""
        return np.concatenate([np.arange(each.start, each.stop) for each in self.live] or [np.empty(0, np.int64)])

    def positions(self, numbers: Array) -> Array:
        """Return which insertions these n are, -1 of what is not live."""
        positions = np.full(numbers.shape, -1, np.int64)
        at = self.written - self.length
        for each in self.live:
            inside = (numbers >= each.start) & (numbers < each.stop)
            positions[inside] = numbers[inside] - each.start + at
            at += len(each)
        return positions


def check_memories(shape: MemoryShape) -> None:
    """Raise ShapeError where ids cannot tell the memories of a shape apart."""
    if shape.rows * shape.heads > MOST_MEMORIES:
        raise ShapeError(
            f"a remote memory has at most {MOST_MEMORIES:,} rows x heads, got {shape.rows} x {shape.heads}: "
            "use several of fewer rows"
        )


def ids_of(row: int, heads: int, numbers: Array) -> Array:
    """Return the ids (heads, n) of a row's entries."""
    return ((row * heads + np.arange(heads))[:, None] << BITS) + numbers


def numbers_of(ids: Array) -> Array:
    """Return which entries of their memories ids stand for; of -1, one that is not live."""
    return np.where(ids < 0, -1, ids & ((1 << BITS) - 1))


def live_ids(row: Row, memory: int) -> Ranges:
    """Return the live ids of one memory; NONE if there are none."""
    return _shifted(row.live, memory) or NONE


def dead_ids(rows: Sequence[Row], heads: int, chosen: Sequence[int]) -> Ranges:
    """Return the ids before the live ones of these rows that the store was not told to forget yet."""
    return tuple(
        each
        for row in chosen
        for head in range(heads)
        for each in _shifted((range(rows[row].forgotten, rows[row].first),), row * heads + head)
    )


def _shifted(ranges: Ranges, memory: int) -> Ranges:
    offset = memory << BITS
    return tuple(range(each.start + offset, each.stop + offset) for each in ranges)
