"""IndexedMemory: a first-in-first-out store of keys and values; a subclass keeps a search index in step with it."""

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memstack.contract.memory import Memory
from memstack.contract.precision import sent, without_autocast
from memstack.contract.result import SearchResult
from memstack.contract.shape import MemoryShape
from memstack.contract.state import check_state
from memstack.contract.validation import Padded, check_add, check_reset, check_search, check_select
from memstack.plugins.placement import PLACEMENT
from memstack.store.exact import nearest_slots
from memstack.store.int8 import Quantised
from memstack.store.ledger import Ledger
from memstack.store.ranking import Scored, in_slot_order, ranked
from memstack.store.storage import StoreOptions


class IndexedMemory(Memory):
    """A ring of ``capacity`` slots per (row, head); a backend adds index_add, index_search and index_forget.

    The store decides what is live, in which order, and what the scores are; the index only proposes slots. So a backend
    that proposes too few, stale or badly ordered slots loses recall and can never return a wrong entry. One that has
    scored keys in full itself says so, and its scores are taken.

    Every change is made in whole or not at all, also where it is interrupted, and one thread at a time is at the
    memory: any number may ask.

    What a backend may use of this class: ``options``, ``shape``, ``device``, ``dtype``, ``lengths``, ``written``,
    ``stored_keys`` and ``nearest_slots``; what it may say: ``exact``, ``in_order`` and ``index_bytes``. All else is out
    of its reach, so that its own attributes may have any other name.
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
        self.__ledger = Ledger(shape, self.options)
        self.device = self.__ledger.store.device

    def __getstate__(self) -> Any:
        self.__ledger.journal.settle()  # a copy holds what was added before it was made
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
    ) -> Int[Tensor, "rows heads q candidates"] | Scored:
        """Propose slots for each query, -1 for none; k is at most the longest row's number of live entries.

        Queries are float32 on the store's device. Any number of candidates may be proposed, in any order: the store
        scores them and keeps the best k. Slots that do not exist, hold nothing or come twice are passed over. What
        comes as ``Scored`` is the answer: k slots of live entries with their true scores, best first.
        """

    @abstractmethod
    def index_forget(self, rows: Bool[Tensor, " rows"]) -> None:
        """Forget these rows' keys."""

    def index_restore(self, rows: Bool[Tensor, " rows"]) -> None:
        """Agree with the store again, whatever the index holds of these rows: an add was cut off or has failed.

        By default it forgets them and is given all that is stored of them.
        """
        self.index_forget(rows)
        self.__ledger.index_stored(self, rows)

    @classmethod
    def index_bytes(cls, shape: MemoryShape, options: Any) -> int | None:
        """Return what the index of full memories keeps beside their keys and values; None, as here, if that depends.

        Of memories that are not made yet: for an estimate. ``options`` are the class's own.
        """
        return None

    # What it gets -----------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> torch.dtype:
        """In which stored numbers are read; float32 for a store in int8."""
        return self.__ledger.store.dtype

    @property
    def lengths(self) -> Int[Tensor, " rows"]:
        self.__ledger.journal.settle()
        return self.__ledger.ring.lengths

    @property
    def written(self) -> Int[Tensor, " rows"]:
        self.__ledger.journal.settle()
        return self.__ledger.ring.written.clone()

    @property
    def stored_keys(self) -> Float[Tensor, "rows heads capacity key_dim"] | Quantised:
        """The ring of keys, by slot; only the first ``lengths`` slots of a row are live. A view: do not write.

        A store in int8 gives them quantised: take a slice of them, then ``.to(torch.float32)``, which reads it.
        """
        self.__ledger.journal.settle()
        return self.__ledger.store.keys

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
        counts = self.check_add(keys, values, lengths, padded=padded)
        background = self.options.overlap
        self.__ledger.journal.alone(partial(self.__ledger.add, self, keys, values, counts, padded, background))

    def check_add(
        self,
        keys: Float[Tensor, "rows heads n key_dim"],
        values: Float[Tensor, "rows heads n value_dim"],
        lengths: Int[Tensor, " rows"] | None = None,
        *,
        padded: Padded = "right",
    ) -> Int[Tensor, " rows"]:
        stored: torch.dtype = getattr(torch, self.options.dtype)
        return check_add(self.shape, keys, values, lengths, padded=padded, dtype=stored)

    def search(self, queries: Float[Tensor, "rows query_heads q key_dim"], k: int) -> SearchResult:
        check_search(self.shape, queries, k)
        return self.__ledger.journal.alone(partial(self.__answer, queries, k, by_index=True))

    def search_exactly(self, queries: Float[Tensor, "rows query_heads q key_dim"], k: int) -> SearchResult:
        check_search(self.shape, queries, k)
        return self.__ledger.journal.alone(partial(self.__answer, queries, k, by_index=False))

    def reset(self, rows: Bool[Tensor, " rows"] | None = None) -> None:
        forgotten = check_reset(self.shape, rows)
        if bool(forgotten.any()):
            self.__ledger.journal.alone(partial(self.__ledger.reset, self, forgotten))
        else:
            # A training loop asks this at every step: it need not wait for an add in the background.
            self.__ledger.version.bump()

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        chosen = check_select(self.shape, rows)
        self.__ledger.journal.alone(partial(self.__ledger.select, self, chosen))

    def state_dict(self) -> dict[str, Tensor]:
        return self.__ledger.journal.alone(self.__ledger.state)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        check_state(state, self.shape)
        written = state["written"].to("cpu", torch.int64)
        live = written.clamp(max=self.shape.capacity)
        self.check_add(state["keys"], state["values"], live)
        self.__ledger.journal.alone(partial(self.__ledger.load, self, state["keys"], state["values"], written, live))

    def __answer(self, queries: Tensor, k: int, by_index: bool) -> SearchResult:
        """Let the index, or exact search, propose slots; score them, keep the best."""
        ring, store = self.__ledger.ring, self.__ledger.store
        propose, in_order = self.nearest_slots, False
        if by_index and self.__ledger.is_indexed(self):
            propose, in_order = self.index_search, self.in_order
        folded = queries.detach().to(self.device, torch.float32)
        folded = folded.reshape(self.shape.rows, self.shape.heads, -1, self.shape.key_dim)
        # Autocast must not reach the search: in half precision it would rank neighbours by rounded scores.
        with torch.no_grad(), without_autocast(folded):
            shortest, longest = map(int, ring.lengths.aminmax())
            width = min(k, longest)
            none = torch.empty(*folded.shape[:3], 0, dtype=torch.int64, device=self.device)
            found = propose(folded, width) if width and folded.numel() else none
            scored = isinstance(found, Scored)
            whole = isinstance(found, Scored) and found.is_whole(shortest)
            slots = found.slots if scored else found if in_order else in_slot_order(found)
            positions = ring.live_positions(slots) if whole else ring.positions(slots)
            index = store.index(slots, None if whole else positions >= 0)
            scores = found.scores if scored else store.scores(folded, index)
            best = ranked(scores, positions, index, k, store.null, best_first=scored, whole=whole)
        outer = (*queries.shape[:3], k)
        entries = store.entries(best.places.reshape(outer), queries.device, self.__ledger.version.guard())
        scores, positions = (sent(part.reshape(outer), queries.device) for part in (best.scores, best.positions))
        return SearchResult(scores, positions, entries)
