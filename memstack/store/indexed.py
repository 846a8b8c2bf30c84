"""IndexedMemory: a first-in-first-out store of keys and values; a subclass keeps a search index in step with it."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import astuple
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from memstack.contract.errors import NonFiniteError, ShapeError, StaleResultError
from memstack.contract.memory import Memory
from memstack.contract.precision import sent
from memstack.contract.result import SearchResult
from memstack.contract.shape import MemoryShape
from memstack.contract.state import check_state
from memstack.contract.validation import expect
from memstack.store.async_writer import AsyncWriter
from memstack.store.embedding_bag import inner_products
from memstack.store.exact import nearest_slots
from memstack.store.finite import known_finite
from memstack.store.int8 import Quantised, Vectors
from memstack.store.storage import StoreOptions, new_vectors
from memstack.store.stored_entries import StoredEntries


class IndexedMemory(Memory):
    """A ring of ``capacity`` slots per (row, head); a backend adds index_add, index_search and index_forget.

    The store decides what is live, in which order, and what the scores are; the index only proposes slots. So a backend
    that proposes too few, stale or badly ordered slots loses recall and can never return a wrong entry.
    """

    class Options(StoreOptions):
        overlap: bool = False
        """Let ``add`` return at once and write in a background thread, beside the model's next forward. Order is kept:
        whatever is asked next waits for it, and raises what went wrong in it, instead of doing what was asked: an add
        that raises so was not done either. (On a GPU, call from the default stream.)
        """

    in_order: ClassVar[bool] = False
    """True of a backend whose ``index_search`` proposes slots in ascending order and none twice, missing ones anywhere:
    putting them in order is then spared."""

    def __init__(self, shape: MemoryShape, options: Options | None = None) -> None:
        options = options or self.Options()
        self.shape = shape
        self.device = torch.device(options.device)
        stored: torch.dtype = getattr(torch, options.dtype)
        self.dtype = stored if stored.is_floating_point else torch.float32
        """In which stored numbers are read."""
        self._version = 0
        self._overlap = options.overlap
        self._adding = AsyncWriter()
        # One slot more than the ring: a row of zeros that missing columns read, whatever the store holds.
        self._null = shape.rows * shape.heads * shape.capacity
        # What is made under inference_mode could not be written to outside of it.
        with torch.inference_mode(False):
            self._written = torch.zeros(shape.rows, dtype=torch.int64)
            self._key_vectors = new_vectors(shape, shape.key_dim, options)
            self._value_vectors = new_vectors(shape, shape.value_dim, options)

    # What a backend writes --------------------------------------------------------------------------------------

    @abstractmethod
    def index_add(
        self, rows: Int[Tensor, " some"], slots: Int[Tensor, "some n"], keys: Float[Tensor, "some heads n key_dim"]
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
    def lengths(self) -> Int[Tensor, " rows"]:
        self._adding.settle()
        return self._written.clamp(max=self.shape.capacity)

    @property
    def written(self) -> Int[Tensor, " rows"]:
        """How many entries each row has been given since its last reset, those that have left included."""
        self._adding.settle()
        return self._written.clone()

    @property
    def stored_keys(self) -> Float[Tensor, "rows heads capacity key_dim"] | Quantised:
        """The ring of keys, by slot; only the first ``lengths`` slots of a row are live. A view: do not write.

        A store in int8 gives them quantised: take a slice of them, then ``.to(torch.float32)``, which reads it.
        """
        self._adding.settle()
        return self._ring(self._key_vectors)

    def nearest_slots(
        self,
        queries: Float[Tensor, "some heads q key_dim"],
        k: int,
        rows: Bool[Tensor, " rows"] | None = None,
        block: int | None = None,
    ) -> Int[Tensor, "some heads q k"]:
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

    def search_exactly(self, queries: Float[Tensor, "rows query_heads q key_dim"], k: int) -> SearchResult:
        """Answer as exact search would, whatever the index: the truth that a recall is measured against."""
        return self._answer(queries, k, self.nearest_slots)

    def add(self, keys: Float[Tensor, "rows heads n key_dim"], values: Float[Tensor, "rows heads n value_dim"]) -> None:
        shape = self.shape
        expect("keys", keys, rows=shape.rows, heads=shape.heads, n=None, key_dim=shape.key_dim)
        n = keys.shape[2]
        expect("values", values, rows=shape.rows, heads=shape.heads, n=n, value_dim=shape.value_dim)
        kept = min(n, shape.capacity)
        inspected = known_finite(keys, self.dtype)
        with torch.no_grad():
            keys = self._as_stored(keys.detach()[:, :, n - kept :])
            values = values.detach()[:, :, n - kept :].to(self.device, self.dtype)
            if not inspected:
                self._refuse_non_finite(keys)
            if self._overlap:
                # The caller may change its tensors as soon as this returns.
                kept_keys, kept_values = keys.clone(), values.clone()
                self._adding.start(lambda: self._append(kept_keys, kept_values, n))
            else:
                self._append(keys, values, n)
        self._version += 1

    def search(self, queries: Float[Tensor, "rows query_heads q key_dim"], k: int) -> SearchResult:
        return self._answer(queries, k, self.index_search)

    def reset(self, rows: Bool[Tensor, " rows"] | None = None) -> None:
        if rows is None:
            rows = torch.ones(self.shape.rows, dtype=torch.bool)
        if rows.dtype != torch.bool or tuple(rows.shape) != (self.shape.rows,):
            raise ShapeError(f"rows should be bool ({self.shape.rows},), got {rows.dtype} {tuple(rows.shape)}")
        if not bool(rows.any()):
            self._version += 1
            return  # a training loop asks this at every step: it need not wait for an add in the background
        self._adding.settle()
        self._written[rows.cpu()] = 0
        self._version += 1
        self.index_forget(rows.cpu())

    def state_dict(self) -> dict[str, Tensor]:
        self._adding.settle()
        longest = int(self.lengths.max())
        insertions = (self._written - self.lengths)[:, None] + torch.arange(longest)
        dead = (insertions >= self._written[:, None])[:, None, :, None].to(self.device)
        rows, slots = torch.arange(self.shape.rows)[:, None], insertions % self.shape.capacity

        def oldest_first(vectors: Vectors) -> Tensor:
            kept = self._ring(vectors)[rows, :, slots].to(self.dtype)
            return kept.transpose(1, 2).masked_fill(dead, 0).contiguous()

        return {
            "keys": oldest_first(self._key_vectors),
            "values": oldest_first(self._value_vectors),
            "written": self._written.clone(),
            "shape": torch.tensor(astuple(self.shape)),
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        check_state(state, self.shape)
        written = state["written"].to("cpu", torch.int64)
        live = written.clamp(max=self.shape.capacity)
        keys, values = self._as_stored(state["keys"]), state["values"].to(self.device, self.dtype)
        self._refuse_non_finite(keys)
        self.reset()
        try:
            # Rows differ in length, so each is written on its own: loading is rare and need not be fast.
            for row in range(self.shape.rows):
                n = int(live[row])
                slots = (written[row] - n + torch.arange(n)) % self.shape.capacity
                self._write(torch.tensor([row]), slots[None], keys[row : row + 1, :, :n], values[row : row + 1, :, :n])
        except BaseException:
            self.reset()  # an index that knows some rows and a store that counts none would never agree again
            raise
        self._written.copy_(written)

    # How --------------------------------------------------------------------------------------------------------

    def _ring(self, vectors: Vectors) -> Vectors:
        return vectors[: self._null].unflatten(0, (self.shape.rows, self.shape.heads, self.shape.capacity))

    def _as_stored(self, keys: Tensor) -> Tensor:
        """Keys as they will be read: what the index is given, and what must be finite."""
        keys = keys.to(self.device, self.dtype)
        return Quantised.of(keys).to(self.dtype) if isinstance(self._key_vectors, Quantised) else keys

    def _append(self, keys: Tensor, values: Tensor, n: int) -> None:
        """Write the newest entries of a chunk of n."""
        with torch.no_grad():
            insertions = self._written[:, None] + torch.arange(n - keys.shape[2], n)
            self._write(torch.arange(self.shape.rows), insertions % self.shape.capacity, keys, values)
            self._written += n

    def _write(self, rows: Tensor, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Write (some, heads, n, dim) entries at (some, n) slots; the index first, for only it can fail."""
        if slots.shape[1] == 0:
            return
        self.index_add(rows, slots, keys)
        rows, slots = (each.to(self.device, non_blocking=True) for each in (rows, slots))
        self._ring(self._key_vectors)[rows[:, None], :, slots] = keys.transpose(1, 2)
        self._ring(self._value_vectors)[rows[:, None], :, slots] = values.transpose(1, 2)

    def _answer(self, queries: Tensor, k: int, slots_of: Callable[[Tensor, int], Tensor]) -> SearchResult:
        """Check the question, let ``slots_of`` propose, score what it proposed."""
        shape = self.shape
        expect("queries", queries, rows=shape.rows, query_heads=None, q=None, key_dim=shape.key_dim)
        query_heads = queries.shape[1]
        if query_heads == 0 or query_heads % shape.heads:
            raise ShapeError(f"query_heads should be a multiple of heads={shape.heads}, got {query_heads}")
        if k < 1:
            raise ShapeError(f"k should be at least 1, got {k}")
        self._adding.settle()
        # Autocast must not reach the search: in half precision it would rank neighbours by rounded scores.
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            folded = queries.detach().to(self.device, torch.float32)
            folded = folded.reshape(shape.rows, shape.heads, -1, shape.key_dim)
            width = min(k, int(self.lengths.max()))
            none = torch.empty(*folded.shape[:3], 0, dtype=torch.int64, device=self.device)
            slots = slots_of(folded, width) if width and folded.numel() else none
            if not (self.in_order and slots_of == self.index_search):
                # In order, a slot that comes twice is beside itself; and the store is read from front to back.
                slots = slots.sort(-1).values
                slots[..., 1:].masked_fill_(slots[..., 1:] == slots[..., :-1].clone(), -1)
            scores, positions, index = self._best(folded, slots, k)
        outer = queries.shape[:3]
        entries = StoredEntries(
            self._key_vectors, self._value_vectors, index.reshape(*outer, k), queries.device, self._freshness()
        )
        scores, positions = (sent(part.reshape(*outer, k), queries.device) for part in (scores, positions))
        return SearchResult(scores, positions, entries)

    def _best(self, queries: Tensor, slots: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Score the proposed slots and keep the best k: (rows, heads, q, k) scores, positions and indices."""
        positions = self._positions(slots)
        memories = torch.arange(self.shape.rows * self.shape.heads, device=self.device)
        first_slot = (memories * self.shape.capacity).view(self.shape.rows, self.shape.heads, 1, 1)
        index = torch.where(positions >= 0, first_slot + slots, self._null)
        scores = inner_products(queries.flatten(0, 2), self._key_vectors, index.flatten(0, 2), self._freshness())
        scores = scores.view(index.shape)
        # A score that overflows cannot be told from that of a missing column.
        missing = (positions < 0) | ~(scores > -torch.inf)
        scores, order = scores.masked_fill_(missing, -torch.inf).sort(dim=-1, descending=True, stable=True)
        order = order[..., :k]
        return (
            _widened(scores[..., :k], k, -torch.inf),
            _widened(positions.masked_fill_(missing, -1).gather(-1, order), k, -1),
            _widened(index.masked_fill_(missing, self._null).gather(-1, order), k, self._null),
        )

    def _positions(self, slots: Int[Tensor, "rows heads q c"]) -> Int[Tensor, "rows heads q c"]:
        """Which insertion a slot holds: the newest that fell on it; -1 where the slot holds none or does not exist."""
        capacity = self.shape.capacity
        newest = (self._written - 1).to(self.device, non_blocking=True)[:, None, None, None]
        # A round begins at slot 0; the slots beyond the newest were written in the round before.
        round_start = newest - newest % capacity
        positions = slots + torch.where(slots > newest - round_start, round_start - capacity, round_start)
        return positions.masked_fill_((slots < 0) | (slots >= capacity) | (positions < 0), -1)

    def _refuse_non_finite(self, keys: Tensor) -> None:
        if not bool(keys.isfinite().all()):
            raise NonFiniteError(
                f"keys should be finite in the store's {self.dtype}, got NaN or inf; nothing was written"
            )

    def _freshness(self) -> Callable[[], None]:
        version = self._version

        def check_fresh() -> None:
            if self._version != version:
                raise StaleResultError(
                    "the memory has changed since this search; use a result before the next add or reset"
                )

        return check_fresh


def _widened(columns: Tensor, k: int, missing: float) -> Tensor:
    gap = k - columns.shape[-1]
    return pad(columns, (0, gap), value=missing) if gap else columns
