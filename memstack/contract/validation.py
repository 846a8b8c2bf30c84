"""Checks at the door, for any memory: what is added, asked or forgotten fits the memory's shape.

Each raises before the memory has done anything, and says what came, what was expected and what to do.
"""

import operator
import textwrap
from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memstack.contract.errors import NonFiniteError, ShapeError
from memstack.contract.finite import are_storable, largest_magnitudes, largest_number
from memstack.contract.shape import MemoryShape

Padded = Literal["right", "left"]
"""On which side of a row the entries that do not count lie."""


def check_add(
    shape: MemoryShape,
    keys: Float[Tensor, "rows heads n key_dim"],
    values: Float[Tensor, "rows heads n value_dim"],
    lengths: Int[Tensor, " rows"] | None = None,
    *,
    padded: Padded = "right",
    dtype: torch.dtype = torch.float32,
) -> Int[Tensor, " rows"]:
    """Check what ``Memory.add`` is given; return how many entries each row gets, on the CPU.

    Padding may hold anything. Raises ShapeError for wrong axes, dtypes or lengths, and NonFiniteError for a key or a
    value that is NaN or infinite, or would be in ``dtype``, that of the store; of what leaves at once as well.
    """
    expect("keys", keys, rows=shape.rows, heads=shape.heads, n=None, key_dim=shape.key_dim)
    n = keys.shape[2]
    expect("values", values, rows=shape.rows, heads=shape.heads, n=n, value_dim=shape.value_dim)
    if padded not in ("right", "left"):
        raise ShapeError(f"padded should be 'right' or 'left', got {padded!r}")
    counts = _checked_lengths(shape, lengths, n)
    if not are_storable((keys, values), dtype):
        for name, given in (("keys", keys), ("values", values)):
            _refuse_non_finite(name, given.detach(), counts, padded, dtype)
    return counts


def check_search(shape: MemoryShape, queries: Float[Tensor, "rows query_heads q key_dim"], k: int) -> None:
    """Raise ShapeError unless the queries fit the memory and k is at least 1."""
    expect("queries", queries, rows=shape.rows, query_heads=None, q=None, key_dim=shape.key_dim)
    query_heads = queries.shape[1]
    if query_heads == 0 or query_heads % shape.heads:
        raise ShapeError(f"query_heads should be a multiple of heads={shape.heads}, got {query_heads}")
    if not hasattr(k, "__index__") or operator.index(k) < 1:
        raise ShapeError(f"k should be at least 1, a whole number, got {k!r}")


def check_reset(shape: MemoryShape, rows: Bool[Tensor, " rows"] | None) -> Bool[Tensor, " rows"]:
    """Return which rows to forget, on the CPU, all of them for None; ShapeError unless the mask fits the memory."""
    if rows is None:
        return torch.ones(shape.rows, dtype=torch.bool, device="cpu")
    if not _is_row(rows, shape.rows, torch.bool):
        raise ShapeError(f"rows should be a tensor, bool ({shape.rows},), got {_described(rows)}")
    return rows.cpu()


def check_select(shape: MemoryShape, rows: Int[Tensor, " rows"]) -> Int[Tensor, " rows"]:
    """Return which row each row takes over, int64 on the CPU; ShapeError unless they are as many rows of the memory."""
    if not _is_row(rows, shape.rows, torch.int64, torch.int32):
        raise ShapeError(f"rows should be a tensor of row numbers, int64 ({shape.rows},), got {_described(rows)}")
    chosen = rows.to("cpu", torch.int64)
    if bool(((chosen < 0) | (chosen >= shape.rows)).any()):
        raise ShapeError(f"rows should be from 0 to {shape.rows - 1}, got {chosen.tolist()}")
    return chosen


def expect(name: str, tensor: Tensor, **axes: int | None) -> None:
    """Raise ShapeError unless the tensor is floating point and has these axes; None lets an axis be of any size."""
    wanted = tuple(axes.values())
    if not _is_tensor(tensor):
        raise ShapeError(f"{name} should be a tensor ({_axes(axes)}), got {_described(tensor)}")
    fits = tensor.ndim == len(wanted) and all(
        size is None or size == got for size, got in zip(wanted, tensor.shape, strict=True)
    )
    if not fits:
        raise ShapeError(f"{name} should be ({_axes(axes)}), got {tuple(tensor.shape)}")
    if not tensor.is_floating_point():
        raise ShapeError(f"{name} should be floating point, got {tensor.dtype}; convert with .float()")


def expect_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ShapeError unless the tensor has exactly this shape."""
    if tuple(tensor.shape) != shape:
        raise ShapeError(f"{name} should have the shape of the search, {shape}, got {tuple(tensor.shape)}")


def usable_device(name: str) -> torch.device:
    """Return the device of that name; ValueError, in one line, if nothing can be put on it here."""
    try:
        return torch.empty(0, device=name, dtype=torch.float32).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device {name!r} cannot be used here: {reason}") from None


def is_entry(n: int, counts: Int[Tensor, " rows"], padded: Padded) -> Bool[Tensor, "rows n"]:
    """Return which of n columns hold an entry and no padding, on the CPU."""
    column = torch.arange(n, dtype=torch.int64, device="cpu")
    return column < counts[:, None] if padded == "right" else column >= n - counts[:, None]


def _axes(axes: Mapping[str, int | None]) -> str:
    return ", ".join(axis if size is None else f"{axis}={size}" for axis, size in axes.items())


def _is_tensor(given: object) -> bool:
    """What is written for tensors is called with lists and numbers all the same."""
    return isinstance(given, Tensor)


def _is_row(given: Tensor, rows: int, *dtypes: torch.dtype) -> bool:
    return _is_tensor(given) and given.dtype in dtypes and tuple(given.shape) == (rows,)


def _described(given: Any) -> str:
    """What came, in one line, and what makes a tensor of it where that is plain."""
    if isinstance(given, Tensor):
        return f"{given.dtype} {tuple(given.shape)}"
    kind = f"a {type(given).__module__.partition('.')[0]} {type(given).__name__}"
    if hasattr(given, "dtype") and hasattr(given, "shape"):
        return f"{kind}, {given.dtype} {tuple(given.shape)}: torch.from_numpy makes a tensor of it"
    if isinstance(given, list | tuple):
        return f"a {type(given).__name__}: torch.tensor makes a tensor of it"
    return f"{type(given).__name__} {textwrap.shorten(repr(given), 100)}"


def _checked_lengths(shape: MemoryShape, lengths: Tensor | None, n: int) -> Int[Tensor, " rows"]:
    if lengths is None:
        return torch.full((shape.rows,), n, dtype=torch.int64, device="cpu")
    if not _is_row(lengths, shape.rows, torch.int64, torch.int32):
        raise ShapeError(f"lengths should be a tensor, int64 ({shape.rows},), got {_described(lengths)}")
    counts = lengths.to("cpu", torch.int64)
    if bool(((counts < 0) | (counts > n)).any()):
        raise ShapeError(f"lengths should be from 0 to n={n}, the entries given for each row, got {counts.tolist()}")
    return counts


def _refuse_non_finite(
    name: str, given: Tensor, counts: Int[Tensor, " rows"], padded: Padded, dtype: torch.dtype
) -> None:
    """Padding, which may hold anything, is looked for only now that there is something to find."""
    padding = ~is_entry(given.shape[2], counts, padded)[:, None, :, None].to(given.device)
    (largest,) = largest_magnitudes([given.masked_fill(padding, 0)])
    limit = largest_number(dtype)
    if largest <= limit or _is_rounded_down(largest, dtype):
        return
    wrong = f"{largest:g}, and the largest that holds is {limit:g}" if largest < torch.inf else "NaN or inf"
    raise NonFiniteError(f"{name} should be finite in the store's {dtype}, got {wrong}; nothing was written")


def _is_rounded_down(number: float, dtype: torch.dtype) -> bool:
    """Whether a number above the largest of a dtype is so little above it that it becomes that one."""
    return dtype.is_floating_point and bool(torch.full((), number, dtype=dtype, device="cpu").isfinite())
