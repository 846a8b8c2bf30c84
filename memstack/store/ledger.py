"""Ledger: the store, the counters and the index of one memory, which are changed together and agree."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memstack.contract.errors import MemstackError
from memstack.contract.shape import MemoryShape
from memstack.contract.state import new_state
from memstack.contract.validation import Padded
from memstack.contract.version import Version
from memstack.store.changes import Addition, Change, Move, addition, loaded
from memstack.store.journal import Journal, Undertaking
from memstack.store.ring import Ring
from memstack.store.storage import StoreOptions
from memstack.store.store import Store


class Index(Protocol):
    """What a backend writes; ``IndexedMemory`` says what each is for."""

    def index_add(
        self, rows: Int[Tensor, " rows_"], slots: Int[Tensor, "rows_ n"], keys: Float[Tensor, "rows_ heads n key_dim"]
    ) -> None: ...

    def index_forget(self, rows: Bool[Tensor, " rows"]) -> None: ...

    def index_restore(self, rows: Bool[Tensor, " rows"]) -> None: ...


class Ledger:
    """What a memory holds. Its index is given at every call: a reference to it would keep both alive.

    A change is made in whole or not at all. The index is told first, for only it can fail; the store is written next,
    the counters last. Cut off before the store was touched, nothing has changed; cut off later, all of it is written
    again. The index may then hold anything, and is restored when it is next needed.
    """

    def __init__(self, shape: MemoryShape, options: StoreOptions) -> None:
        self.shape = shape
        self.store = Store(shape, options)
        self.ring = Ring(shape.rows, shape.capacity)
        self.version = Version()
        self.journal = Journal()
        self._unindexed: frozenset[int] = frozenset()
        """Rows of which the index may hold anything."""

    # What is asked, each in its turn ----------------------------------------------------------------------------

    def add(
        self, index: Index, keys: Tensor, values: Tensor, counts: Int[Tensor, " rows"], padded: Padded, background: bool
    ) -> None:
        """Append so many entries to each row, now or in the background."""
        change = addition(self.store, self.ring, keys, values, counts, padded)
        perform = partial(self._append, index)
        if not background:
            self._do(change, perform)
            return
        change.secure()  # the caller may change its tensors as soon as this returns
        change.promised = True
        self.version.bump()
        self.journal.later(self._undertaking(change, perform))

    def reset(self, index: Index, forgotten: Bool[Tensor, " rows"]) -> None:
        """Forget the rows that are True."""
        self._do(Change(_numbers(forgotten), self.ring.without(forgotten)), partial(self._forget, index))

    def select(self, index: Index, chosen: Int[Tensor, " rows"]) -> None:
        """Let each row hold what another one held."""
        self.version.bump()
        rows = chosen != torch.arange(self.shape.rows, dtype=torch.int64, device="cpu")
        moved = rows.nonzero().flatten()
        if not len(moved):
            return
        sources = chosen[moved]
        copies = self.store.copies(sources, int(self.ring.lengths[sources].max()))
        change = Move(_numbers(rows), self.ring.written[chosen], moved=moved, copies=copies)
        self._do_or_reset(index, change, partial(self._move, index))

    def load(
        self, index: Index, keys: Tensor, values: Tensor, written: Int[Tensor, " rows"], live: Int[Tensor, " rows"]
    ) -> None:
        """Replace everything by each row's so many live entries, oldest first, of so many ever written."""
        change = loaded(self.store, keys, values, written, live)
        self._do_or_reset(index, change, partial(self._replace, index, written - live))

    def state(self) -> dict[str, Tensor]:
        """Return copies of all that is held, oldest first."""
        keys, values = self.store.read(*self.ring.oldest_first())
        return new_state(self.shape, keys, values, self.ring.written.clone())

    def is_indexed(self, index: Index) -> bool:
        """Return whether the index agrees with the store, or can be made to."""
        try:
            self._restore(index)
        except Exception:  # noqa: BLE001 - of a backend that has said so once, and exact search does without it
            return False
        return True

    def index_stored(self, index: Index, rows: Bool[Tensor, " rows"]) -> None:
        """Give the index all keys that these rows hold."""
        for row in rows.nonzero().flatten().tolist():
            if n := int(self.ring.lengths[row]):
                slots = torch.arange(n, dtype=torch.int64, device="cpu")
                keys = self.store.keys[row : row + 1, :, :n].to(self.store.dtype)
                index.index_add(torch.tensor([row], dtype=torch.int64, device="cpu"), slots[None], keys)

    # Changes, as they are made and as they are recovered from ---------------------------------------------------

    def _do(self, change: Change, perform: Callable[[Any], None]) -> None:
        self.journal.do(self._undertaking(change, perform))

    def _undertaking(self, change: Change, perform: Callable[[Any], None]) -> Undertaking:
        return Undertaking(change, perform, self._recover)

    def _do_or_reset(self, index: Index, change: Change, perform: Callable[[Any], None]) -> None:
        try:
            self._do(change, perform)
        except Exception:
            self.reset(index, self._mask(change.rows))  # an index that fails would never find what it lacks
            raise

    def _append(self, index: Index, change: Addition) -> None:
        self._restore(index)
        for chunk in change.chunks:
            index.index_add(chunk.rows, chunk.slots, chunk.keys)
        self._write(change)

    def _forget(self, index: Index, change: Change) -> None:
        self._write(change)
        index.index_forget(self._mask(change.rows))

    def _move(self, index: Index, change: Change) -> None:
        rows = self._mask(change.rows)
        index.index_forget(rows)
        self._write(change)
        self.index_stored(index, rows)

    def _replace(self, index: Index, begin: Int[Tensor, " rows"], change: Addition) -> None:
        """As if all that is live had been added one by one, after the others that were written."""
        index.index_forget(self._mask(change.rows))
        self.version.bump()
        change.begun = True
        self.ring.written = begin
        for chunk in change.chunks:
            index.index_add(chunk.rows, chunk.slots, chunk.keys)
        self._write(change)

    def _write(self, change: Change) -> None:
        self.version.bump()
        change.begun = True
        change.write(self.store)
        self.ring.written = change.written

    def _recover(self, change: Change) -> None:
        self._unindexed = self._unindexed | change.rows
        if change.begun and change.secure():
            self._write(change)
        elif change.begun:
            self._write(Change(change.rows, self.ring.without(self._mask(change.rows))))
            self.journal.report(
                MemstackError(
                    f"an add was interrupted, its recovery too, and what it was given has changed since: rows "
                    f"{sorted(change.rows)} are forgotten; add again what they held"
                )
            )

    def _restore(self, index: Index) -> None:
        if self._unindexed:
            index.index_restore(self._mask(self._unindexed))
            self._unindexed = frozenset()

    def _mask(self, rows: frozenset[int]) -> Bool[Tensor, " rows"]:
        return torch.tensor([row in rows for row in range(self.shape.rows)], dtype=torch.bool, device="cpu")


def _numbers(rows: Bool[Tensor, " rows"]) -> frozenset[int]:
    return frozenset(rows.nonzero().flatten().tolist())
