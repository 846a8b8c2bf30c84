"""IndexedMemory: a first-in-first-out store of keys and values; a subclass keeps a search index in step with it."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memstack.contract.memory import Memory
from memstack.contract.precision import sent
from memstack.contract.result import SearchResult
from memstack.contract.shape import MemoryShape
from memstack.contract.state import check_state, new_state
from memstack.contract.validation import Padded, check_add, check_reset, check_search, check_select
from memstack.contract.version import Version
from memstack.plugins.placement import PLACEMENT
from memstack.store.async_writer import AsyncWriter
from memstack.store.exact import nearest_slots
from memstack.store.int8 import Quantised
from memstack.store.ranking import in_slot_order, ranked
from memstack.store.ring import Ring
from memstack.store.storage import StoreOptions
from memstack.store.store import Store


class IndexedMemory(Memory):
    """A ring of ``capacity`` slots per (row, head); a backend adds index_add, index_search and index_forget.

    The store decides what is live, in which order, and what the scores are; the index only proposes slots. So a backend
    that proposes too few, stale or badly ordered slots loses recall and can never return a wrong entry.

    What a backend may use of this class: ``options``, ``shape``, ``device``, ``dtype``, ``lengths``, ``written``,
    ``stored_keys`` and ``nearest_slots``; what it may say: ``exact`` and ``in_order``. All else is out of its reach, so
    that its own attributes may have any other name.
    """

    class Options(StoreOptions):
        overlap: Annotated[bool, PLACEMENT] = False
        """Let ``add`` return at once and write in a background thread, beside the model's next forward. Order is kept:
        whatever is asked next waits for it, and raises what went wrong in it, instead of doing what was asked: an add
        that raises so was not done either. (On a GPU, call from the default stream.)
        """

    in_order: ClassVar[bool] = False
    """True of a backend whose ``index_search`` proposes slots in ascending order and none twice, missing ones anywhere:
    putting them in order is then spared."""

    def __init__(self, shape: MemoryShape, options: Options | None = None) -> None:
        self.options = options or self.Options()
        """What the backend was given, or its defaults; a subclass narrows the type to its own ``Options``."""
        self.shape = shape
        self.__store = Store(shape, self.options)
        self.device = self.__store.device
        with torch.inference_mode(False):
            self.__ring = Ring(shape.rows, shape.capacity)
        self.__version = Version()
        self.__writer = AsyncWriter()

    def __getstate__(self) -> Any:
        self.__writer.settle()  # a copy holds what was added before it was made
        return super().__getstate__()

    # What a backend writes --------------------------------------------------------------------------------------

    @abstractmethod
    def index_add(
        self, rows: Int[Tensor, " rows_"], slots: Int[Tensor, "rows_ n"], keys: Float[Tensor, "rows_ heads n key_dim"]
    ) -> None:
        """Take in keys at these slots of these rows, all heads alike, replacing what the slots held.

        ``rows`` and ``slots`` are on the CPU, the keys on the store's device in its dtype. n is at most ``capacity``;
        no row and no slot of a row comes twice. The store is written afterwards: if this raises, it keeps what it had.
        With ``overlap`` this runs in a background thread, never at the same time as another of these methods. Threads
        that it starts may read ``lengths`` and ``stored_keys`` if they run in a copy of its context (contextvars);
        otherwise those would wait for this to end.
        """

    @abstractmethod
    def index_search(
        self, queries: Float[Tensor, "rows heads q key_dim"], k: int
    ) -> Int[Tensor, "rows heads q candidates"]:
        """Propose slots for each query, -1 for none; k is at most the longest row's number of live entries.

        Queries are float32 on the store's device. Any number of candidates may be proposed, in any order: the store
        scores them and keeps the best k. Slots that do not exist, hold nothing or come twice are passed over.
        """

    @abstractmethod
    def index_forget(self, rows: Bool[Tensor, " rows"]) -> None:
        """Forget these rows' keys."""

    # What it gets -----------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> torch.dtype:
        """In which stored numbers are read; float32 for a store in int8."""
        return self.__store.dtype

    @property
    def lengths(self) -> Int[Tensor, " rows"]:
        self.__writer.settle()
        return self.__ring.lengths

    @property
    def written(self) -> Int[Tensor, " rows"]:
        self.__writer.settle()
        return self.__ring.written.clone()

    @property
    def stored_keys(self) -> Float[Tensor, "rows heads capacity key_dim"] | Quantised:
        """The ring of keys, by slot; only the first ``lengths`` slots of a row are live. A view: do not write.

        A store in int8 gives them quantised: take a slice of them, then ``.to(torch.float32)``, which reads it.
        """
        self.__writer.settle()
        return self.__store.keys

    def nearest_slots(
        self,
        queries: Float[Tensor, "rows_ heads q key_dim"],
        k: int,
        rows: Bool[Tensor, " rows"] | None = None,
        block: int | None = None,
    ) -> Int[Tensor, "rows_ heads q k"]:
        """Return the slots of the true neighbours, found in the store itself, for the rows that are True (or all).

        ``queries`` are those rows' only; ``k`` may exceed a row's length, not the longest one's; the columns that are
        left then name slots that are not live. What an index falls back on while it has too few keys.
        """
        keys, lengths = self.stored_keys, self.lengths
        if rows is not None and not bool(rows.all()):
            lengths = lengths[rows]
            # Picking rows copies them: what is live of them, not the whole ring.
            keys = keys[:, :, : int(lengths.max())][rows.to(keys.device)]
        return nearest_slots(keys, lengths, queries, k, block)

    # The verbs --------------------------------------------------------------------------------------------------

    def add(
        self,
        keys: Float[Tensor, "rows heads n key_dim"],
        values: Float[Tensor, "rows heads n value_dim"],
        lengths: Int[Tensor, " rows"] | None = None,
        *,
        padded: Padded = "right",
    ) -> None:
        counts = check_add(self.shape, keys, values, lengths, padded=padded, dtype=self.dtype)
        with torch.no_grad():
            chunks = [self.__chunk(keys, values, rows, n, padded) for n, rows in _rows_by_count(counts)]
            if self.options.overlap:
                # The caller may change its tensors as soon as this returns.
                copies = [chunk._replace(keys=chunk.keys.clone(), values=chunk.values.clone()) for chunk in chunks]
                given = counts.clone()
                self.__writer.start(lambda: self.__append(copies, given))
            else:
                self.__append(chunks, counts)
        self.__version.bump()

    def search(self, queries: Float[Tensor, "rows query_heads q key_dim"], k: int) -> SearchResult:
        return self.__answer(queries, k, self.index_search, self.in_order)

    def search_exactly(self, queries: Float[Tensor, "rows query_heads q key_dim"], k: int) -> SearchResult:
        return self.__answer(queries, k, self.nearest_slots, False)

    def reset(self, rows: Bool[Tensor, " rows"] | None = None) -> None:
        forgotten = check_reset(self.shape, rows)
        if not bool(forgotten.any()):
            self.__version.bump()
            return  # a training loop asks this at every step: it need not wait for an add in the background
        self.__writer.settle()
        self.__ring.forget(forgotten)
        self.__version.bump()
        self.index_forget(forgotten)

    @torch.no_grad()
    def select(self, rows: Int[Tensor, " rows"]) -> None:
        chosen = check_select(self.shape, rows)
        self.__writer.settle()
        self.__version.bump()
        moved = (chosen != torch.arange(self.shape.rows)).nonzero().flatten()
        if not len(moved):
            return
        self.index_forget(self.__mask(moved))
        try:
            self.__store.copy_rows(moved, chosen[moved], int(self.lengths[chosen[moved]].max()))
            self.__ring.written[moved] = self.__ring.written[chosen[moved]]
            for row in moved.tolist():
                self.__index_stored(row)
        except BaseException:
            self.reset(self.__mask(moved))  # an index that knows these rows in part would never find the rest
            raise

    def state_dict(self) -> dict[str, Tensor]:
        self.__writer.settle()
        keys, values = self.__store.read(*self.__ring.oldest_first())
        return new_state(self.shape, keys, values, self.__ring.written.clone())

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        check_state(state, self.shape)
        written = state["written"].to("cpu", torch.int64)
        live = written.clamp(max=self.shape.capacity)
        check_add(self.shape, state["keys"], state["values"], live, dtype=self.dtype)
        self.reset()
        keys, values = self.__store.as_stored(state["keys"]), state["values"].to(self.device, self.dtype)
        # An entry's slot is that of its insertion, as if all had been added one by one.
        self.__ring.written.copy_(written - live)
        try:
            # Rows differ in length, so each is written on its own: loading is rare and need not be fast.
            for row, n in enumerate(live.tolist()):
                one = slice(row, row + 1)
                self.__write([_Chunk(torch.tensor([row]), 0, keys[one, :, :n], values[one, :, :n])] if n else [])
        except BaseException:
            self.reset()  # an index that knows some rows and a store that counts none would never agree again
            raise
        self.__ring.written.copy_(written)

    # How --------------------------------------------------------------------------------------------------------

    def __chunk(self, keys: Tensor, values: Tensor, rows: Tensor, count: int, padded: Padded) -> "_Chunk":
        """The newest entries of these rows, as they will be stored."""
        end = count if padded == "right" else keys.shape[2]
        kept = slice(end - min(count, self.shape.capacity), end)
        keys, values = keys.detach(), values.detach()
        if len(rows) < self.shape.rows:
            keys, values = keys[rows.to(keys.device)], values[rows.to(values.device)]
        values = values[:, :, kept].to(self.device, self.dtype)
        return _Chunk(rows, count - (kept.stop - kept.start), self.__store.as_stored(keys[:, :, kept]), values)

    def __append(self, chunks: list["_Chunk"], counts: Int[Tensor, " rows"]) -> None:
        with torch.no_grad():
            self.__write(chunks)
            self.__ring.written += counts

    def __write(self, chunks: list["_Chunk"]) -> None:
        """Write chunks of different rows; the index takes in all of them first, for only it can fail."""
        slots = [self.__ring.slots_of_next(chunk.rows, chunk.skipped, chunk.keys.shape[2]) for chunk in chunks]
        for chunk, places in zip(chunks, slots, strict=True):
            self.index_add(chunk.rows, places, chunk.keys)
        for chunk, places in zip(chunks, slots, strict=True):
            self.__store.write(chunk.rows, places, chunk.keys, chunk.values)

    def __index_stored(self, row: int) -> None:
        """Give the index all keys that a row holds."""
        if n := int(self.lengths[row]):
            self.index_add(
                torch.tensor([row]), torch.arange(n)[None], self.stored_keys[row : row + 1, :, :n].to(self.dtype)
            )

    def __mask(self, rows: Int[Tensor, " rows_"]) -> Bool[Tensor, " rows"]:
        return torch.zeros(self.shape.rows, dtype=torch.bool).index_fill_(0, rows, True)

    def __answer(
        self, queries: Tensor, k: int, propose: Callable[[Tensor, int], Tensor], in_order: bool
    ) -> SearchResult:
        """Check the question, let ``propose`` name slots, score them, keep the best."""
        check_search(self.shape, queries, k)
        self.__writer.settle()
        # Autocast must not reach the search: in half precision it would rank neighbours by rounded scores.
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            folded = queries.detach().to(self.device, torch.float32)
            folded = folded.reshape(self.shape.rows, self.shape.heads, -1, self.shape.key_dim)
            width = min(k, int(self.lengths.max()))
            none = torch.empty(*folded.shape[:3], 0, dtype=torch.int64, device=self.device)
            slots = propose(folded, width) if width and folded.numel() else none
            positions = self.__ring.positions(slots := slots if in_order else in_slot_order(slots))
            index = self.__store.index(slots, positions >= 0)
            best = ranked(self.__store.scores(folded, index), positions, index, k, self.__store.null)
        outer = (*queries.shape[:3], k)
        entries = self.__store.entries(best.places.reshape(outer), queries.device, self.__version.guard())
        scores, positions = (sent(part.reshape(outer), queries.device) for part in (best.scores, best.positions))
        return SearchResult(scores, positions, entries)


class _Chunk(NamedTuple):
    """Entries of some rows, as many for each, that follow ``skipped`` others which the capacity has no room for."""

    rows: Int[Tensor, " rows_"]
    skipped: int
    keys: Float[Tensor, "rows_ heads n key_dim"]
    values: Float[Tensor, "rows_ heads n value_dim"]


def _rows_by_count(counts: Int[Tensor, " rows"]) -> list[tuple[int, Int[Tensor, " rows_"]]]:
    """How many entries rows get, and which rows get as many; those that get none are left out."""
    rows: dict[int, list[int]] = {}
    for row, count in enumerate(counts.tolist()):
        rows.setdefault(count, []).append(row)
    return [(count, torch.tensor(rows[count])) for count in sorted(rows) if count]
