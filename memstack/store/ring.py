"""Ring: which slot of a row holds which insertion."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from memstack.contract.copying import Copied


class _Rounds(NamedTuple):
    """Of which round of its ring a row's slots are: those beyond the newest were written in the one before."""

    written: Int[Tensor, " rows"]
    """The counts of which this is said."""
    newest: Int[Tensor, "rows 1 1 1"]
    """The slot of the newest entry."""
    now: Int[Tensor, "rows 1 1 1"]
    """The insertion at slot 0 of this round."""
    before: Int[Tensor, "rows 1 1 1"]
    """The same of the round before."""

    @classmethod
    def of(cls, written: Int[Tensor, " rows"], capacity: int) -> "_Rounds":
        last = (written - 1)[:, None, None, None]
        newest = last % capacity
        return cls(written, newest, last - newest, last - newest - capacity)


class Ring(Copied):
    """The counters of a first-in-first-out store of ``capacity`` slots per row; they lie on the CPU.

    Insertion i of a row falls on slot i modulo the capacity, where it replaces the one that came a round before.
    """

    def __init__(self, rows: int, capacity: int) -> None:
        self.capacity = capacity
        self.written = torch.zeros(rows, dtype=torch.int64, device="cpu")
        """How many entries each row has been given since its last reset. Replaced, never written to: whoever reads it
        from another thread has the counts of all rows at one time."""
        self._rounds = _Rounds.of(self.written, capacity)

    def __getstate__(self) -> dict[str, Any]:
        return {"capacity": self.capacity, "written": self.written}

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self._rounds = _Rounds.of(self.written, self.capacity)

    @property
    def lengths(self) -> Int[Tensor, " rows"]:
        """How many live entries each row holds."""
        return self.written.clamp(max=self.capacity)

    def slots_of_next(self, rows: Int[Tensor, " rows_"], skipped: int, n: int) -> Int[Tensor, "rows_ n"]:
        """Return where a row's n insertions go that follow ``skipped`` others yet to come."""
        return (self.written[rows] + skipped)[:, None].add(_numbers(n)) % self.capacity

    def oldest_first(self) -> tuple[Int[Tensor, "rows n"], Bool[Tensor, "rows n"]]:
        """Return the slots of the live entries by age, n those of the longest row, and which of them hold one."""
        insertions = (self.written - self.lengths)[:, None] + _numbers(int(self.lengths.max()))
        return insertions % self.capacity, insertions < self.written[:, None]

    def positions(self, slots: Int[Tensor, "rows heads q c"]) -> Int[Tensor, "rows heads q c"]:
        """Return which insertion a slot holds: the newest that fell on it; -1 if it holds none or does not exist."""
        positions = self.live_positions(slots)
        return positions.masked_fill_((slots < 0) | (slots >= self.capacity) | (positions < 0), -1)

    def live_positions(self, slots: Int[Tensor, "rows heads q c"]) -> Int[Tensor, "rows heads q c"]:
        """Return which insertion a slot holds, of slots that all hold one."""
        if self._rounds.written is not self.written:
            self._rounds = _Rounds.of(self.written, self.capacity)
        newest, now, before = (each.to(slots.device, non_blocking=True) for each in self._rounds[1:])
        return torch.where(slots > newest, before, now).add_(slots)

    def without(self, rows: Bool[Tensor, " rows"]) -> Int[Tensor, " rows"]:
        """Return the counts with the rows that are True started again at insertion 0."""
        return self.written.masked_fill(rows, 0)


def _numbers(n: int) -> Int[Tensor, " n"]:
    return torch.arange(n, dtype=torch.int64, device="cpu")
