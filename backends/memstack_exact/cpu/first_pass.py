"""An 8-bit copy of the keys: one pass over it leaves few of them to be scored in full, and provably all that matter.

A vector v is rounded to whole numbers c of a scale s of its own: v = s c + r. Of a query q and a key k, rounded alike,
|q k - s_q s_k c_q c_k| <= |q| |r_k| + |r_q| |s_k c_k|: a key whose rounded score lies further than that below the k-th
best true score found so far is not among the k best. What all keys of a memory have in common tells none of them from
another: their mean is subtracted before they are rounded, and its product with q, the same for all, is added after.
The products are whole numbers; the loop over them, which never stores them, is in ``native/``.

A store in int8 is such a copy itself, but for the mean m, and none is made of it: of its keys r_k is nothing, and
|q k - s_q s_k c_q c_k - r_q m| <= |r_q| |k - m|.
"""

import ctypes
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memstack import BackendUnavailableError, MemoryShape, Quantised, ShapeError
from memstack.store import Scored, StoreOptions, new_zeros
from memstack_exact.cpu.library import Store, chosen, kernel
from memstack_exact.first_pass import FirstPass

TILE = 16
"""Keys whose sums stand side by side."""
WIDEST = (2**31 - 1) // (128 * 127)
"""Dimensions whose sums fit into 32 bits: of a query's codes, up to 127, times the 128 that each of a key's is shifted
by. What is searched by is 127 x 127 a dimension at most, and on its way there it may wrap round."""
LARGEST = 2**31 - 1
"""Entries of a memory whose numbers fit into 32 bits."""
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int8)


class CpuFirstPass(FirstPass):
    """The codes of all memories' keys, by slot; rows x heads memories in order.

    A byte per dimension and 3 per entry: 2 for its scale, and its share of a bound that 16 keys have in common; of a
    store in int8 that share alone. The centre of a memory moves to its keys' mean, and they are rounded anew, when a
    search finds twice as many written.
    """

    def __init__(self, shape: MemoryShape, store: StoreOptions | None = None) -> None:
        """Keep the codes where ``store`` keeps the keys. Raises BackendUnavailableError where the loop cannot run."""
        if reason := _too_large(shape):
            raise BackendUnavailableError(f"first_pass = 'int8' adds in 32 bits, {reason}: set it to 'none'")
        self.variant = chosen()
        """The loop's, by name: a loaded library cannot be copied."""
        self._shape = shape
        self._word = kernel(self.variant).word()  # dimensions of a key that lie side by side
        store = store or StoreOptions()
        memories, tiles = shape.rows * shape.heads, -(-shape.capacity // TILE)
        rounded = 0 if store.dtype == "int8" else tiles
        self.codes = _new_codes((memories, rounded, -(-shape.key_dim // self._word), TILE, self._word), store)
        self._scale = torch.zeros(memories, rounded, TILE, dtype=torch.bfloat16, device="cpu")
        self._bounds = torch.zeros(memories, tiles, 4, dtype=torch.float32, device="cpu")
        """The longest residual and key of a tile, those written in this round of the ring and those before."""
        self._centre = torch.zeros(memories, shape.key_dim, dtype=torch.float32, device="cpu")
        self._centred = torch.zeros(shape.rows, dtype=torch.int64, device="cpu")
        """How many keys of a row were written when its centres were last moved."""
        self._kept = self._own()

    def bytes_of(self, shape: MemoryShape) -> int:
        """Bytes that one keeps for memories of this shape; none where 32 bits are too few for them."""
        if _too_large(shape):
            return 0
        tiles, padded = -(-shape.capacity // TILE), -(-shape.key_dim // self._word) * self._word
        rounded = TILE * padded + 2 * TILE if self._rounds else 0
        per_memory = tiles * (rounded + 4 * 4) + 4 * shape.key_dim
        return shape.rows * (shape.heads * per_memory + 8)

    @property
    def nbytes(self) -> int:
        """Bytes it keeps, the codes included."""
        return sum(each.nbytes for each in (self.codes, self._scale, self._bounds, self._centre, self._centred))

    @property
    def _rounds(self) -> bool:
        """Whether the store has its keys in more than 8 bits."""
        return self.codes.shape[1] > 0

    def write(
        self, rows: Int[Tensor, " rows_"], slots: Int[Tensor, "rows_ n"], keys: Float[Tensor, "rows_ heads n key_dim"]
    ) -> None:
        rows, slots, keys = rows.contiguous(), slots.contiguous(), keys.contiguous()
        store = ctypes.byref(self._store(keys))
        at = _at(rows, torch.int64), _at(slots, torch.int64), _at(keys, *DTYPES)
        kernel(self.variant).write_keys(store, *at, *slots.shape, torch.get_num_threads())

    def search(
        self,
        keys: Float[Tensor, "rows heads capacity key_dim"] | Quantised,
        written: Int[Tensor, " rows"],
        queries: Float[Tensor, "rows heads q key_dim"],
        k: int,
    ) -> Scored | None:
        """As the protocol says; None if a query is not finite, which bounds nothing."""
        rows, heads, q, _ = queries.shape
        store, queries = self._store(keys), queries.contiguous()
        numbers = keys.codes if isinstance(keys, Quantised) else keys.contiguous()
        slots = torch.empty(rows, heads, q, k, dtype=torch.int64, device="cpu")
        scores = torch.empty(rows, heads, q, k, dtype=torch.float32, device="cpu")
        at = _at(numbers, *DTYPES), _at(written, torch.int64), self._centred.data_ptr(), _at(queries, torch.float32)
        threads, answers = torch.get_num_threads(), (slots.data_ptr(), scores.data_ptr())
        finite = kernel(self.variant).search(ctypes.byref(store), *at, rows, q, k, threads, *answers)
        return Scored(slots, scores) if finite else None

    def _own(self) -> Store:
        """What the loop reads of what is kept here, which stays where it is."""
        shape = self._shape
        rounded = (_at(self.codes, torch.uint8), _at(self._scale, torch.bfloat16)) if self._rounds else (None, None)
        at = *rounded, _at(self._bounds, torch.float32), _at(self._centre, torch.float32), None
        return Store(*at, self._bounds.shape[1], self.codes.shape[2], shape.heads, shape.capacity, shape.key_dim, 0)

    def _store(self, keys: Tensor | Quantised) -> Store:
        """The same, of keys in their dtype."""
        store = Store.from_buffer_copy(self._kept)
        store.dtype = DTYPES.index(keys.dtype)
        if isinstance(keys, Quantised):
            store.stored_scale = _at(keys.scale, torch.bfloat16)
        return store


def _new_codes(size: tuple[int, ...], store: StoreOptions) -> Tensor:
    if not math.prod(size):  # which no file can be
        return torch.empty(size, dtype=torch.uint8, device="cpu")
    try:
        return new_zeros(size, torch.uint8, store)
    except (RuntimeError, OSError) as error:
        gigabytes = math.prod(size) / 1e9
        raise BackendUnavailableError(
            f"first_pass = 'int8' needs {gigabytes:,.1f} GB beside the store, more than there is: set it to 'none'"
        ) from error


def _too_large(shape: MemoryShape) -> str:
    """Return why 32 bits are too few for memories of this shape; empty if they are enough."""
    if shape.key_dim > WIDEST:
        return f"enough for key_dim up to {WIDEST:,}, not {shape.key_dim:,}"
    return f"enough for a capacity up to {LARGEST:,}, not {shape.capacity:,}" if shape.capacity > LARGEST else ""


def _at(tensor: Tensor, *dtypes: torch.dtype) -> int:
    """Where the numbers begin that compiled code will read as they are said to be, whatever they are."""
    if tensor.dtype in dtypes and tensor.device.type == "cpu" and tensor.is_contiguous():
        return tensor.data_ptr()
    wanted = " or ".join(map(str, dtypes))
    raise ShapeError(
        f"the first pass reads {wanted} on the CPU, contiguous; got {tensor.dtype} on {tensor.device} of strides "
        f"{tensor.stride()}: make it that, or set first_pass to 'none'"
    )
