"""The first pass on a GPU: all keys are scored in 8 or 16 bits, and in full those that may be among the best.

Of a query q and a key k that are rounded to q' and k', |q k - q' k'| <= |q| |k - k'| + |q - q'| |k'|. With the largest
|k - k'| and |k'| of a memory this bounds every score's error by one ``slack`` per query: if the k-th best rounded score
is t, then whatever is among the true k best has a rounded score of at least t - 2 slack. ``kernels.py`` lists these.
Where they are too many, as in text that repeats, the query is searched for by matrix product, so that the answer is
always that of exact search. Whether there is such a query is the one thing that the host waits for.
"""

from functools import cache
from importlib.util import find_spec
from typing import Literal, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from memstack import BackendUnavailableError, MemoryShape, Quantised
from memstack.store import nearest_slots
from memstack_exact.first_pass import FirstPass

WIDEST = 256
"""Dimensions of which tiles of queries and keys fit into a GPU's shared memory."""
SUM_ERROR = 2.0**-22
"""Rounding of a tensor core's sum, for each of its terms, relative to the vectors' lengths."""
PACKING_ERROR = 2.0**-15
"""Change of a score by the number of a tile in its low bits, relative to the vectors' lengths."""
MOST_ENTRIES = 1 << 28
"""Of a memory: so many fall into the most buckets that a kernel holds at once."""
MOST_NEIGHBOURS = 1 << 17
"""Candidates of a query, eight for each neighbour, that a kernel holds at once."""
VANISHING = 2e-18
"""Length of a vector whose coordinates' squares are too small for float32; the square of it is below every product."""
LARGEST = 1e37
"""Scores that the kernels can tell from those of no key."""


class Rounded(NamedTuple):
    """Vectors in 8 or 16 bits, and how far they are from what they were."""

    codes: Num[Tensor, "*outer dim"]
    scale: Float[Tensor, "*outer"]
    residual: Float[Tensor, "*outer"]
    """Length of what rounding took away."""
    norm: Float[Tensor, "*outer"]
    """Length of what is left."""


def rounded(vectors: Float[Tensor, "*outer dim"]) -> Rounded:
    """Round float32 vectors to whole numbers from -127 to 127 times a scale of their own."""
    scale = vectors.abs().amax(-1) / 127
    scale = scale.masked_fill(scale == 0, 1.0)
    codes = (vectors / scale[..., None]).round().clamp(-127, 127)
    kept = codes * scale[..., None]
    return Rounded(codes.to(torch.int8), scale, (vectors - kept).norm(dim=-1), kept.norm(dim=-1))


def unavailable(shape: MemoryShape, device: torch.device) -> str:
    """Return the reason why memories of this shape cannot have a first pass on this device; empty if they can."""
    if find_spec("triton") is None:
        return "needs triton: pip install 'memstack[gpu]'"
    if device.type != "cuda" and not _interpreted():
        return f"needs a CUDA device, not {device}"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return "needs a GPU of compute capability 8.0 or newer"
    if shape.key_dim > WIDEST:
        return f"is for key_dim up to {WIDEST}, not {shape.key_dim}"
    if shape.capacity > MOST_ENTRIES:
        return f"is for a capacity up to {MOST_ENTRIES:,}, not {shape.capacity:,}"
    return ""


@cache
def why_wrong(device: torch.device, precision: Literal["bfloat16", "int8"], key_dim: int) -> str:
    """Return how the kernels differ from the matrix product in a small example on this device; empty if they do not.

    They have been right on an H100, and no test can run them on the GPU at hand.
    """
    random = torch.Generator().manual_seed(0)
    keys, queries = (
        torch.randn(1, 1, n, key_dim, generator=random, dtype=torch.float32, device="cpu").to(device) for n in (700, 5)
    )
    lengths = torch.tensor([700], dtype=torch.int64, device="cpu")
    try:
        made = GpuFirstPass(MemoryShape(rows=1, heads=1, key_dim=key_dim, value_dim=1, capacity=700), device, precision)
        made.write(torch.zeros_like(lengths), torch.arange(700, dtype=torch.int64, device="cpu")[None], keys)
        scores = queries @ keys.mT
        found = scores.gather(-1, made.search(keys, lengths, queries, 8))
        torch.testing.assert_close(found.sort(-1, descending=True).values, scores.topk(8).values)
    except Exception as error:  # noqa: BLE001 - whatever a compiler or a driver raises, the matrix product remains
        return (str(error).splitlines() or [type(error).__name__])[0]
    return ""


def _interpreted() -> bool:
    from memstack_exact.gpu.kernels import INTERPRETED

    return INTERPRETED.value


class GpuFirstPass(FirstPass):
    """Rounded keys of all memories, by slot; rows x heads memories in order. A bfloat16 store is its own."""

    def __init__(
        self,
        shape: MemoryShape,
        device: torch.device,
        precision: Literal["bfloat16", "int8"] = "bfloat16",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """``dtype`` is the store's. Raises BackendUnavailableError where the kernels cannot run."""
        if reason := unavailable(shape, device):
            raise BackendUnavailableError(f"the first pass on a GPU {reason}; first_pass = 'none' needs nothing")
        self._in_8_bits = precision == "int8"
        size = shape.rows, shape.heads, shape.capacity
        # What is made under inference_mode could not be written to outside of it.
        with torch.inference_mode(False):
            self._residual, self._norm = (torch.zeros(size, device=device, dtype=torch.float32) for _ in range(2))
            # One scale where none is needed: the kernels get an address.
            self._scale = torch.ones(size if self._in_8_bits else (1, 1, 1), device=device, dtype=torch.float32)
            self._codes = None
            if self._in_8_bits or dtype != torch.bfloat16:
                kept = torch.int8 if self._in_8_bits else torch.bfloat16
                self._codes = torch.zeros(*size, shape.key_dim, dtype=kept, device=device)

    def write(
        self, rows: Int[Tensor, " rows_"], slots: Int[Tensor, "rows_ n"], keys: Float[Tensor, "rows_ heads n key_dim"]
    ) -> None:
        new = self._rounded(keys.float())
        device = self._norm.device
        at = rows.to(device, non_blocking=True)[:, None], slice(None), slots.to(device, non_blocking=True)
        self._residual[at] = new.residual.transpose(1, 2)
        self._norm[at] = new.norm.transpose(1, 2)
        if self._codes is not None:
            self._codes[at] = new.codes.transpose(1, 2)
        if self._in_8_bits:
            self._scale[at] = new.scale.transpose(1, 2)

    def search(
        self,
        keys: Float[Tensor, "rows heads capacity key_dim"] | Quantised,
        written: Int[Tensor, " rows"],
        queries: Float[Tensor, "rows heads q key_dim"],
        k: int,
    ) -> Int[Tensor, "rows heads q k"]:
        """As the protocol says, and the k best alone; never None.

        Beyond the memories' size it needs what the buckets' scores take, 8 KB a query.
        """
        from memstack_exact.gpu.launch import best_slots, question  # compile

        keys = cast(Tensor, keys)  # a store in int8 has no pass on a GPU
        lengths = written.clamp(max=keys.shape[2])
        if k > MOST_NEIGHBOURS:
            return nearest_slots(keys, lengths, queries, k).sort(-1).values
        new = self._rounded(queries)
        slack, fits = self._slack(new, lengths)
        rounded_keys = keys if self._codes is None else self._codes
        prepared = question(rounded_keys, self._scale, new.codes, lengths, k)
        found, complete = best_slots(prepared, keys, queries, slack, k)
        failed = ~(complete & fits)
        if bool(failed.any()):
            _search_in_full(keys, lengths, queries, failed, found)
        return found.sort(-1).values

    def bytes_of(self, shape: MemoryShape) -> int:
        codes = 0 if self._codes is None else self._codes.itemsize * shape.key_dim
        return shape.rows * shape.heads * shape.capacity * (codes + (12 if self._in_8_bits else 8))

    def _rounded(self, vectors: Float[Tensor, "*outer dim"]) -> Rounded:
        """Round float32 vectors; the lengths err upwards."""
        if self._in_8_bits:
            new = rounded(vectors)
        else:
            codes = vectors.to(torch.bfloat16)
            kept = codes.float()
            new = Rounded(codes, kept.new_ones(()), (vectors - kept).norm(dim=-1), kept.norm(dim=-1))
        return new._replace(residual=new.residual + VANISHING, norm=new.norm + VANISHING)

    def _slack(self, new: Rounded, lengths: Int[Tensor, " rows"]) -> tuple[Tensor, Bool[Tensor, "rows heads q"]]:
        """Twice how far scores may be from the true ones, in units of the queries' scale; False where they overflow."""
        residual, norm = (self._largest(each, lengths) for each in (self._residual, self._norm))
        own = new.norm + new.residual
        error = SUM_ERROR * (new.codes.shape[-1] + 8) + PACKING_ERROR
        slack = own * residual + new.residual * norm + error * own * norm
        return 2 * slack / new.scale, own / new.scale * norm < LARGEST

    def _largest(self, of_keys: Float[Tensor, "rows heads capacity"], lengths: Tensor) -> Float[Tensor, "rows heads 1"]:
        used = int(lengths.max())
        live = of_keys[:, :, :used]
        if int(lengths.min()) < used:
            dead = torch.arange(used, dtype=torch.int64, device="cpu") >= lengths[:, None]
            live = live.masked_fill(dead[:, None].to(live.device, non_blocking=True), 0)
        return live.amax(-1, keepdim=True)


def _search_in_full(keys: Tensor, lengths: Tensor, queries: Tensor, failed: Tensor, found: Tensor) -> None:
    """Write the slots that exact search finds for the queries that failed; few memories have one."""
    for row, head in failed.any(-1).nonzero().tolist():
        which = failed[row, head]
        k = min(found.shape[-1], int(lengths[row]))
        if k == 0:
            continue  # a query that is not finite, of an empty row
        one = keys[row, head][None, None], lengths[row, None], queries[row, head, which][None, None]
        found[row, head, which, :k] = nearest_slots(*one, k)[0, 0]
