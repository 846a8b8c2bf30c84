"""A way into IndexedMemory's own parts, which nothing reaches by accident."""

from typing import Any

from memstack import IndexedMemory


def inside(memory: IndexedMemory, part: str) -> Any:
    """Return a memory's ring, store, version or writer."""
    return getattr(memory, f"_IndexedMemory__{part}")
