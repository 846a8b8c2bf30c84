"""What a memory takes, against what the machine has: a size that cannot be is refused before anything is made."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from memstack.contract.errors import ShapeError
from memstack.plugins.machine import machine_bytes
from memstack.plugins.specs import BackendOptions

if TYPE_CHECKING:
    from memstack.contract.shape import MemoryShape

MOST = 1 << 62
"""Bytes that no machine has, and beyond which sizes do not fit the numbers that count them."""
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
"""Of one number of a stored vector, by the option ``dtype``; one byte where nothing says so."""
SCALE = {"int8": 2}
"""Of what a vector has beside its numbers, by ``dtype``."""
MEND = "lower capacity or rows, store in a dtype of fewer bits, or elsewhere"


def vector_bytes(dim: int, dtype: str = "") -> int:
    """Return what one stored vector of ``dim`` numbers takes; of a dtype that is not known, a byte each."""
    return dim * BYTES.get(dtype, 1) + SCALE.get(dtype, 0)


def store_bytes(shape: MemoryShape, dtype: str = "") -> int:
    """Return what the keys and values of a memory take in all: those of ``IndexedMemory``, to the byte."""
    vectors = shape.rows * shape.heads * shape.capacity + 1  # and one that stands for none
    return vectors * (vector_bytes(shape.key_dim, dtype) + vector_bytes(shape.value_dim, dtype))


def refuse_too_large(shape: MemoryShape, options: BackendOptions) -> None:
    """ShapeError, with what came and what there is, for a memory that the machine cannot hold.

    Only what is kept in the machine's own memory is compared with that; a store in files, on another device or in
    another place knows its own room.
    """
    numbers = prod((shape.rows, shape.heads, shape.capacity, shape.key_dim + shape.value_dim))
    needed = store_bytes(shape, getattr(options, "dtype", ""))
    if needed >= MOST or max(numbers, shape.capacity) >= MOST:
        raise too_large(shape, f"it needs {needed:.3g} bytes, which no machine has")
    if str(getattr(options, "device", "")) != "cpu" or getattr(options, "folder", None) is not None:
        return
    there = machine_bytes()
    if there is not None and needed > there:
        needs = f"it needs {needed / 1e9:,.1f} GB, and this machine has {there / 1e9:,.1f} GB"
        raise too_large(shape, f"{needs} (more than there is)")


def too_large(shape: MemoryShape, reason: str) -> ShapeError:
    """Return the error of a memory for which there is no room."""
    return ShapeError(f"a memory of {shape} cannot be made: {reason}: {MEND}")
