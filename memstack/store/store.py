"""Store: the keys and values of many memories, by slot."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memstack.contract.copying import BY_VALUE, by_value
from memstack.contract.errors import ForkError
from memstack.contract.shape import MemoryShape
from memstack.contract.validation import usable_device
from memstack.store.embedding_bag import inner_products
from memstack.store.forking import tell_of_forks
from memstack.store.int8 import Quantised, Vectors
from memstack.store.storage import StoreOptions, new_vectors
from memstack.store.stored_entries import StoredEntries


class Store:
    """Two sets of vectors, keys and values, with ``capacity`` slots for every (row, head) and one more at the end.

    That last one is the null vector, zeros whatever is stored: what missing columns read.
    """

    def __init__(self, shape: MemoryShape, options: StoreOptions) -> None:
        self.shape = shape
        self._options = options
        self.device = usable_device(options.device)
        stored: torch.dtype = getattr(torch, options.dtype)
        self.dtype = stored if stored.is_floating_point else torch.float32
        """In which stored numbers are read."""
        self.null = shape.rows * shape.heads * shape.capacity
        # What is made under inference_mode could not be written to outside of it.
        with torch.inference_mode(False):
            memories = torch.arange(shape.rows * shape.heads, dtype=torch.int64, device=self.device)
            self._first_slots = (memories * shape.capacity).view(shape.rows, shape.heads, 1, 1)
            self._key_vectors = new_vectors(shape, shape.key_dim, options)
            self._value_vectors = new_vectors(shape, shape.value_dim, options)
        self._forked = False
        tell_of_forks(self)

    def __deepcopy__(self, _: dict[int, Any]) -> "Store":
        """Return a copy that lies where this one does: torch's would leave files and page-locked memory."""
        return _filled(self.shape, self._options, *self.numbers())

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Send the numbers, to lie in the copy as they do here."""
        numbers = self.numbers()
        return _filled, (self.shape, self._options, *(map(by_value, numbers) if protocol >= BY_VALUE else numbers))

    def before_fork(self) -> None:
        """Do nothing: a store at rest is whole."""

    def after_fork(self) -> None:
        """Note what stays with the other process, or is both's: a device's memory, page-locked memory, files."""
        self._forked = self.device.type != "cpu" or self._options.pinned or self._options.folder is not None

    def _check_process(self) -> None:
        """Raise ForkError in a process that was forked from the one whose store it is, if that stayed there."""
        if self._forked:
            on_cpu = "page-locked memory" if self._options.pinned else f"files of {self._options.folder}"
            where = on_cpu if self.device.type == "cpu" else f"memory of {self.device}"
            raise ForkError(
                f"this memory lies in {where}, which a forked process cannot have for itself: copy it before the fork, "
                "start the process with 'spawn', or make the memory there"
            )

    @property
    def keys(self) -> Float[Tensor, "rows heads capacity key_dim"] | Quantised:
        """The keys by slot, a view."""
        return self._by_slot(self._key_vectors)

    @property
    def values(self) -> Float[Tensor, "rows heads capacity value_dim"] | Quantised:
        """The values by slot, a view."""
        return self._by_slot(self._value_vectors)

    def as_stored(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys as they will be read once they are stored, and values to be stored, on the store's device."""
        self._check_process()
        keys, values = keys.to(self.device, self.dtype), values.to(self.device, self.dtype)
        return (Quantised.of(keys).to(self.dtype) if isinstance(self._key_vectors, Quantised) else keys), values

    def write(self, rows: Int[Tensor, " rows_"], slots: Int[Tensor, "rows_ n"], keys: Tensor, values: Tensor) -> None:
        """Write (rows_, heads, n, dim) keys and values at these slots of these rows."""
        rows, slots = (each.to(self.device, non_blocking=True) for each in (rows, slots))
        self.keys[rows[:, None], :, slots] = keys.transpose(1, 2)
        self.values[rows[:, None], :, slots] = values.transpose(1, 2)

    def read(
        self, slots: Int[Tensor, "rows n"], live: Bool[Tensor, "rows n"]
    ) -> tuple[Float[Tensor, "rows heads n key_dim"], Float[Tensor, "rows heads n value_dim"]]:
        """Return copies of keys and values at these slots, zeros where nothing lives."""
        rows = torch.arange(self.shape.rows, dtype=torch.int64, device="cpu")[:, None]
        dead = ~live[:, None, :, None].to(self.device)

        def copied(vectors: Vectors) -> Tensor:
            kept = vectors[rows, :, slots].to(self.dtype)
            return kept.transpose(1, 2).masked_fill(dead, 0).contiguous()

        return copied(self.keys), copied(self.values)

    def copies(self, rows: Int[Tensor, " rows_"], slots: int) -> list[Tensor]:
        """Return copies of what these rows hold in so many first slots, for ``place``."""
        rows = rows.to(self.device)
        return [part[rows, :, :slots] for vectors in (self.keys, self.values) for part in _parts(vectors)]

    def place(self, rows: Int[Tensor, " rows_"], copies: list[Tensor]) -> None:
        """Let each of these rows hold, in its first slots, what ``copies`` says."""
        rows = rows.to(self.device)
        parts = [part for vectors in (self.keys, self.values) for part in _parts(vectors)]
        for part, copied in zip(parts, copies, strict=True):
            part[rows, :, : copied.shape[2]] = copied

    def index(self, slots: Int[Tensor, "rows heads q c"], live: Bool[Tensor, "rows heads q c"] | None = None) -> Tensor:
        """Return where the vectors of these slots are, counted through all memories; the null where none lives.

        All do if ``live`` is None.
        """
        index = self._first_slots.to(slots.device, non_blocking=True) + slots
        return index if live is None else torch.where(live, index, self.null)

    def scores(self, queries: Float[Tensor, "rows heads q key_dim"], index: Tensor) -> Float[Tensor, "..."]:
        """Return the inner products of queries and the keys at (rows, heads, q, c) indices."""
        return inner_products(queries.flatten(0, 2), self._key_vectors, index.flatten(0, 2), _always).view(index.shape)

    def entries(self, index: Tensor, device: torch.device, check_fresh: Callable[[], None]) -> StoredEntries:
        """Return the entries at (rows, query_heads, q, k) indices, to be read in place for a question on ``device``."""
        return StoredEntries(self._key_vectors, self._value_vectors, index, device, check_fresh)

    def numbers(self) -> tuple[Tensor, ...]:
        """Return all tensors, in an order of their own."""
        self._check_process()
        return (*_parts(self._key_vectors), *_parts(self._value_vectors))

    def _by_slot(self, vectors: Vectors) -> Vectors:
        self._check_process()
        size = (self.shape.rows, self.shape.heads, self.shape.capacity)
        if isinstance(vectors, Quantised):
            return vectors[: self.null].unflatten(0, size)
        return vectors.narrow(0, 0, self.null).view(*size, vectors.shape[1])  # a third of the time


def _filled(shape: MemoryShape, options: StoreOptions, *numbers: Tensor) -> Store:
    """Return a new store that holds these numbers."""
    store = Store(shape, options)
    with torch.inference_mode(False):
        for own, given in zip(store.numbers(), numbers, strict=True):
            own.copy_(given)
    return store


def _parts(vectors: Vectors) -> tuple[Tensor, ...]:
    return (vectors.codes, vectors.scale) if isinstance(vectors, Quantised) else (vectors,)


def _always() -> None:
    """Nothing goes stale within a search."""
