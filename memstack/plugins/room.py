"""What a memory takes, against what the machine has: a size that cannot be is refused before anything is made."""

from __future__ import annotations

import contextlib
import os
import re
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from memstack.contract.errors import ShapeError
from memstack.plugins.specs import BackendOptions

if TYPE_CHECKING:
    from memstack.contract.shape import MemoryShape

MOST = 1 << 62
"""Bytes that no machine has, and beyond which sizes do not fit the numbers that count them."""
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Of one number of a stored vector, by the option ``dtype``; one byte where nothing says so."""
MEND = "lower capacity or rows, store in a dtype of fewer bits, or elsewhere"


def refuse_too_large(shape: MemoryShape, options: BackendOptions) -> None:
    """ShapeError, with what came and what there is, for a memory that the machine cannot hold.

    Only what is kept in the machine's own memory is compared with that; a store in files, on another device or in
    another place knows its own room.
    """
    numbers = prod((shape.rows, shape.heads, shape.capacity, shape.key_dim + shape.value_dim))
    needed = numbers * BYTES.get(getattr(options, "dtype", ""), 1)
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


def machine_bytes() -> int | None:
    """Return the bytes of this machine's memory, what it may swap included; None where that is not known."""
    with contextlib.suppress(OSError):
        found = dict(re.findall(r"^(\w+): +(\d+) kB", Path("/proc/meminfo").read_text(encoding="utf-8"), re.MULTILINE))
        if "MemTotal" in found:
            return 1024 * (int(found["MemTotal"]) + int(found.get("SwapTotal", 0)))
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
