"""What is done to a store: entries added, rows moved and rows forgotten, each such that it can be done again."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memstack.contract.validation import Padded
from memstack.store.ring import Ring
from memstack.store.store import Store


class Chunk(NamedTuple):
    """Entries of some rows, as many for each, as they will be stored, and where."""

    rows: Int[Tensor, " rows_"]
    slots: Int[Tensor, "rows_ n"]
    keys: Float[Tensor, "rows_ heads n key_dim"]
    values: Float[Tensor, "rows_ heads n value_dim"]


@dataclass(eq=False)
class Change:
    """Rows that are forgotten; subclasses write to them as well."""

    rows: frozenset[int]
    """Those that it is about."""
    written: Int[Tensor, " rows"]
    """How many entries every row will have been given: no increment, so that a change can be made twice."""
    promised: bool = False
    """True if whoever asked for it has gone on and counts on it."""
    begun: bool = False
    """True if the store may hold a part of it."""

    def write(self, store: Store) -> None:
        """Write what there is to write."""

    def secure(self) -> bool:
        """Keep what is to be written, whatever becomes of the caller's tensors; False if they have changed already."""
        return True


@dataclass(eq=False)
class Addition(Change):
    """Chunks of different rows."""

    chunks: list[Chunk] = field(default_factory=list[Chunk])

    def __post_init__(self) -> None:
        self._copied = False
        self._versions = self._seen()

    def write(self, store: Store) -> None:
        for chunk in self.chunks:
            store.write(*chunk)

    def secure(self) -> bool:
        if self._copied:
            return True
        if self._seen() != self._versions:
            return False
        copies = [chunk._replace(keys=chunk.keys.clone(), values=chunk.values.clone()) for chunk in self.chunks]
        self.chunks, self._copied = copies, True
        return True

    def _seen(self) -> list[int]:
        """How often each tensor was written to; of those made under inference_mode nobody counts that."""
        given = [part for chunk in self.chunks for part in (chunk.keys, chunk.values)]
        return [0 if part.is_inference() else part._version for part in given]


@dataclass(eq=False)
class Move(Change):
    """Rows that take over what others held, of which there are copies."""

    moved: Int[Tensor, " rows_"] = field(kw_only=True)
    copies: list[Tensor] = field(kw_only=True)

    def write(self, store: Store) -> None:
        store.place(self.moved, self.copies)


def addition(
    store: Store, ring: Ring, keys: Tensor, values: Tensor, counts: Int[Tensor, " rows"], padded: Padded
) -> Addition:
    """Return what adding so many of these entries to each row comes to: of each row the newest that it has room for."""
    keys, values = keys.detach(), values.detach()
    chunks: list[Chunk] = []
    for count, rows in _rows_by_count(counts):
        end = count if padded == "right" else keys.shape[2]
        kept = slice(end - min(count, ring.capacity), end)
        n = kept.stop - kept.start
        chosen = [part if len(rows) == len(counts) else part[rows.to(part.device)] for part in (keys, values)]
        slots = ring.slots_of_next(rows, count - n, n)
        chunks.append(Chunk(rows, slots, *store.as_stored(*(part[:, :, kept] for part in chosen))))
    concerned = frozenset(row for chunk in chunks for row in chunk.rows.tolist())
    return Addition(concerned, ring.written + counts, chunks=chunks)


def loaded(
    store: Store, keys: Tensor, values: Tensor, written: Int[Tensor, " rows"], live: Int[Tensor, " rows"]
) -> Addition:
    """Return what loading comes to: each row's live entries, oldest first, in the slots of their insertions."""
    keys, values = store.as_stored(keys.detach(), values.detach())
    chunks: list[Chunk] = []
    # Rows differ in length, so each is written on its own: loading is rare and need not be fast.
    for row, n in enumerate(live.tolist()):
        one, insertions = slice(row, row + 1), torch.arange(n, dtype=torch.int64, device="cpu")
        slots = (written[one, None] - n + insertions) % store.shape.capacity
        rows = torch.tensor([row], dtype=torch.int64, device="cpu")
        chunks += [Chunk(rows, slots, keys[one, :, :n], values[one, :, :n])] if n else []
    return Addition(frozenset(range(len(live))), written.clone(), chunks=chunks)


def _rows_by_count(counts: Int[Tensor, " rows"]) -> list[tuple[int, Int[Tensor, " rows_"]]]:
    """How many entries rows get, and which rows get as many; those that get none are left out."""
    rows: dict[int, list[int]] = {}
    for row, count in enumerate(counts.tolist()):
        rows.setdefault(count, []).append(row)
    return [(count, torch.tensor(rows[count], dtype=torch.int64, device="cpu")) for count in sorted(rows) if count]
