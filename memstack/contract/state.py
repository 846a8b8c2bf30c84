"""A memory's saved state: its parts, whether they fit, and rows of it."""

from collections.abc import Mapping
from dataclasses import astuple, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memstack.contract.errors import ShapeError, StateError
from memstack.contract.shape import MemoryShape

FORMAT = 1
"""Of the states written here; one without a number is of the first format, which had none."""


def new_state(
    shape: MemoryShape,
    keys: Float[Tensor, "rows heads n key_dim"],
    values: Float[Tensor, "rows heads n value_dim"],
    written: Int[Tensor, " rows"],
) -> dict[str, Tensor]:
    """Return the state of a memory that holds these entries, oldest first and padded with zeros at the right."""
    parts = {"keys": keys, "values": values, "written": written}
    return parts | {
        "shape": torch.tensor(astuple(shape), dtype=torch.int64, device="cpu"),
        "format": torch.tensor(FORMAT, dtype=torch.int64, device="cpu"),
    }


def check_state(state: Mapping[str, Tensor], shape: MemoryShape) -> None:
    """Raise StateError unless the state has all its parts, in a known format, and is that of a memory of this shape."""
    _check_parts(state)
    if (number := int(state.get("format", torch.tensor(FORMAT, dtype=torch.int64, device="cpu")))) != FORMAT:
        raise StateError(f"the state is of format {number}, known is {FORMAT}: load it with the memstack that wrote it")
    saved = tuple(state["shape"].tolist())
    if saved != astuple(shape):
        names = ", ".join(MemoryShape.__dataclass_fields__)
        raise StateError(f"the state was saved from a memory of ({names}) = {saved}, this one has {astuple(shape)}")
    written = state["written"]
    if written.is_floating_point() or tuple(written.shape) != (shape.rows,) or bool((written < 0).any()):
        raise StateError(f"the state's written should be {shape.rows} counts, got {written.tolist()}")
    longest = int(written.clamp(max=shape.capacity).max())
    for name, dim in (("keys", shape.key_dim), ("values", shape.value_dim)):
        expected = (shape.rows, shape.heads, longest, dim)
        if tuple(state[name].shape) != expected:
            raise StateError(f"the state's {name} should be {expected}, got {tuple(state[name].shape)}")
        if not state[name].is_floating_point():
            raise StateError(f"the state's {name} should be floating point, got {state[name].dtype}")


def select_rows(state: Mapping[str, Tensor], rows: Int[Tensor, " selected"]) -> dict[str, Tensor]:
    """Return the state of a memory whose row i holds what row ``rows[i]`` of this one holds; any number of rows.

    So one document read once, in a memory of one row, can be asked by many: load the result into a memory of as many
    rows.

    Raises:
        StateError: A part is missing, or of another shape or format.
        ShapeError: The row numbers are not int64, or one is not a row of the state.
    """
    shape = shape_of(state)
    check_state(state, shape)
    if rows.dtype not in (torch.int64, torch.int32):
        raise ShapeError(f"rows should be row numbers, int64, got {rows.dtype}")
    chosen = rows.to("cpu", torch.int64)
    if chosen.ndim != 1 or not len(chosen) or bool(((chosen < 0) | (chosen >= shape.rows)).any()):
        raise ShapeError(f"rows should be one or more numbers from 0 to {shape.rows - 1}, got {rows.tolist()}")
    written = state["written"].cpu()[chosen]
    longest = int(written.clamp(max=shape.capacity).max())
    keys, values = (state[name][chosen.to(state[name].device), :, :longest] for name in ("keys", "values"))
    return new_state(replace(shape, rows=len(chosen)), keys, values, written)


def shape_of(state: Mapping[str, Tensor]) -> MemoryShape:
    """Return the shape of the memory that a state was saved from; StateError if a part of it is missing."""
    _check_parts(state)
    return MemoryShape(**dict(zip(MemoryShape.__dataclass_fields__, state["shape"].tolist(), strict=True)))


def _check_parts(state: Mapping[str, Tensor]) -> None:
    if missing := {"keys", "values", "written", "shape"} - state.keys():
        raise StateError(f"a memory state needs keys, values, written and shape; {', '.join(sorted(missing))} missing")
