"""Positions: which insertion of a row each entry of a shard was, where every rank adds entries of its own."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from memstack.contract.copying import Copied


class Addition(NamedTuple):
    """What a shard is about to add, and what will be so once it has."""

    counts: Int[Tensor, " rows"]
    """How many entries each row gets here."""
    positions: Int[Tensor, "rows n"]
    """Theirs; the padding, at the right, has none."""
    first: Int[Tensor, " rows"]
    written: Int[Tensor, " rows"]


class Positions(Copied):
    """A ring of positions per row, beside the ring of entries that a shard keeps; on the CPU, 8 bytes an entry.

    The shard counts its own insertions, the row those of all ranks. What the row has outgrown, for it is not among the
    last ``window`` insertions any more, may still lie in the shard, in front of what is live.
    """

    def __init__(self, rows: int, capacity: int, window: int) -> None:
        self.capacity, self.window = capacity, window
        # Made under inference_mode, they could not be written to outside of it.
        with torch.inference_mode(False):
            self._ring = torch.zeros(rows, capacity, dtype=torch.int64, device="cpu")
        self.written = torch.zeros(rows, dtype=torch.int64, device="cpu")
        """How many entries each row has been given on all ranks. Replaced, as those below, and never written to."""
        self.added = torch.zeros(rows, dtype=torch.int64, device="cpu")
        """How many of them here."""
        self.first = torch.zeros(rows, dtype=torch.int64, device="cpu")
        """Of these, the number of the oldest that is live."""

    @property
    def floor(self) -> Int[Tensor, " rows"]:
        """The smallest position that each row has not outgrown."""
        return _floor(self.written, self.window)

    @property
    def live(self) -> Int[Tensor, " rows"]:
        """How many entries of each row are live here."""
        return self.added - self.first

    @property
    def outgrown(self) -> Int[Tensor, " rows"]:
        """How many entries of each row lie here that are not live any more."""
        return self.first - (self.added - self.capacity).clamp(min=0)

    def addition(self, counts: Int[Tensor, "shards rows"], rank: int, n: int) -> Addition:
        """Return what a rank adds of n columns at most, where every rank adds so many to each row."""
        new, own = in_turns(self.written, counts, rank, n), counts[rank]
        written = self.written + counts.sum(0)
        floor = _floor(written, self.window)
        # No more of what is held can be outgrown now than the floor has risen by.
        held = self._span(min(int(self.live.max()), int((floor - self.floor).max())))
        passed = (held < floor[:, None]) & (_numbers(held.shape[1]) < self.live[:, None])
        skipped = (new < floor[:, None]) & (_numbers(n) < own[:, None])
        return Addition(own, new, self.first + passed.sum(1) + skipped.sum(1), written)

    def add(self, new: Addition) -> None:
        """Note what was added."""
        column, counts = _numbers(new.positions.shape[1]), new.counts[:, None]
        kept = (column < counts) & (column >= counts - self.capacity)
        slots = (self.added[:, None] + column) % self.capacity
        rows = _numbers(len(counts))[:, None].expand_as(slots)
        self._ring[rows[kept], slots[kept]] = new.positions[kept]
        self.added, self.first, self.written = self.added + new.counts, new.first, new.written

    def of(self, local: Int[Tensor, "rows heads q k"]) -> Int[Tensor, "rows heads q k"]:
        """Return the positions of entries by the shard's own numbers; -1 for missing ones and what is outgrown."""
        # The modulus, for the numbers of what lies here: they are of the last round, or of the one before.
        slots = local - (self.added // self.capacity * self.capacity)[:, None, None, None]
        slots = torch.where(slots < 0, slots + self.capacity, slots).clamp_(min=0)
        found = self._ring.gather(1, slots.flatten(1)).view(local.shape)
        return found.masked_fill_(local < self.first[:, None, None, None], -1)

    def oldest_first(self) -> tuple[Int[Tensor, "rows n"], Bool[Tensor, "rows n"]]:
        """Return the positions of the live entries by age, n those of the longest row, and which of them there are."""
        n = int(self.live.max())
        return self._span(n), _numbers(n) < self.live[:, None]

    def load(
        self, positions: Int[Tensor, "rows n"], counts: Int[Tensor, " rows"], written: Int[Tensor, " rows"]
    ) -> None:
        """Replace everything by so many entries of each row, oldest first, of so many that the row was ever given."""
        self._ring[:, : positions.shape[1]] = positions
        self.added, self.first, self.written = counts, torch.zeros_like(counts), written

    def without(self, rows: Bool[Tensor, " rows"]) -> None:
        """Forget the rows that are True."""
        self.added, self.first = self.added.masked_fill(rows, 0), self.first.masked_fill(rows, 0)
        self.written = self.written.masked_fill(rows, 0)

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Let each row have what another one had."""
        self._ring.copy_(self._ring[rows])
        self.added, self.first, self.written = self.added[rows], self.first[rows], self.written[rows]

    def _span(self, n: int) -> Int[Tensor, "rows n"]:
        return self._ring.gather(1, (self.first[:, None] + _numbers(n)) % self.capacity)


def in_turns(
    written: Int[Tensor, " rows"], counts: Int[Tensor, "shards rows"], rank: int, n: int
) -> Int[Tensor, "rows n"]:
    """Return the positions of the entries that a rank adds, where every rank adds some at the same time.

    They take turns: the j-th entries of all ranks come before any (j + 1)-th, and the first turn is that of the rank
    ``written`` modulo the number of ranks. So what is added alike by all is spread evenly over them: position p lies on
    rank p modulo their number.
    """
    turn = (_numbers(len(counts))[:, None] - written) % len(counts)
    before = (turn < turn[rank]).long()
    taken = torch.minimum(counts[:, :, None], _numbers(n) + before[:, :, None])
    return written[:, None] + taken.sum(0)


def of_rank(
    written: Int[Tensor, " rows"], counts: Int[Tensor, " rows"], rank: int, shards: int
) -> tuple[Int[Tensor, "rows n"], Int[Tensor, " rows"]]:
    """Of each row's so many insertions after ``written``, return which fall on a rank, and how many those are.

    Position p falls on rank p modulo ``shards``. Columns beyond a row's number mean nothing.
    """
    start = (rank - written) % shards
    own = (counts - start + shards - 1).clamp(min=0) // shards
    return start[:, None] + shards * _numbers(int(own.max())), own


def _floor(written: Int[Tensor, " rows"], window: int) -> Int[Tensor, " rows"]:
    return (written - window).clamp(min=0)


def _numbers(n: int) -> Int[Tensor, " n"]:
    return torch.arange(n, dtype=torch.int64, device="cpu")
