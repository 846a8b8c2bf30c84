"""Exact search, and whether its compiled first pass runs on this machine."""

import pytest
from memstack_exact.cpu import library
from memstack_exact.search import ExactMemory

from memstack import BackendUnavailableError, MemoryShape, create_memory


def unavailable() -> str:
    """Why the pass cannot run here, if it cannot; sources that do not compile are no such reason."""
    try:
        library.kernel()
    except BackendUnavailableError as error:
        if "AVX-512" not in str(error) and "no C++ compiler" not in str(error):
            raise
        return str(error)
    return ""


WHY_NOT = unavailable()
needs_kernel = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "the kernel runs here")


def made(shape: MemoryShape, **options: object) -> ExactMemory:
    """Exact search's memory with these options."""
    memory = create_memory("exact", shape, **options)
    assert isinstance(memory, ExactMemory)
    return memory
