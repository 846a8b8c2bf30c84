"""A way into IndexedMemory's own parts, which nothing reaches by accident."""

from typing import Any

from memstack import Memory


def inside(memory: Memory, part: str) -> Any:
    """Return the ring, store, version or journal of a memory that is an IndexedMemory."""
    return getattr(vars(memory)["_IndexedMemory__ledger"], part)
