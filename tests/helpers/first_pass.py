"""Exact search, whether its compiled first pass runs on this machine, and in which of its variants."""

import contextlib
from collections.abc import Generator
from pathlib import Path

import pytest
from memstack_exact.cpu import library, variants
from memstack_exact.search import ExactMemory

from memstack import BackendUnavailableError, MemoryShape, create_memory

EVEX = "avxvnni, encoded as AVX-512 has it"
"""The same source, with another encoding of its instruction, for processors that have only that."""
FORMS = ("avx512vnni", "avxvnni", EVEX, "avx2", variants.PLAIN)
"""In which the loop is tested on x86-64."""


def unavailable() -> str:
    """Why the pass cannot run here, if it cannot; sources that do not compile are no such reason."""
    try:
        library.kernel(library.chosen())
    except BackendUnavailableError as error:
        if "no C++ compiler" not in str(error):
            raise
        return str(error)
    return ""


WHY_NOT = unavailable()
needs_kernel = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "the kernel runs here")


@contextlib.contextmanager
def forced(form: str, patch: pytest.MonkeyPatch) -> Generator[str]:
    """Have memories made in one of FORMS, whose variant's name this gives; skip where it does not run."""
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    here = library.runnable()
    name = form
    if form == EVEX:
        name = "avxvnni"
        if "avx512vnni" not in here:
            pytest.skip("this processor has no AVX-512 VNNI")
        flags = (*variants.VARIANTS["avx2"], "-mavx512vl", "-mavx512vnni")
        patch.setattr(variants, "VARIANTS", {**variants.VARIANTS, name: flags})
        patch.setattr(library, "runnable", lambda: (name,))
        library.outcome.cache_clear()
    elif form not in here:
        pytest.skip(f"this processor does not run {form}, only {', '.join(here)}")
    patch.setenv(library.VARIABLE, name)
    yield name
    if form == EVEX:
        library.outcome.cache_clear()


@contextlib.contextmanager
def fresh(patch: pytest.MonkeyPatch, cache: Path) -> Generator[Path]:
    """A home of its own, and a process that has not looked for the loop yet, which is compiled in half the time."""
    patch.setenv("MEMSTACK_CACHE", str(cache))
    patch.delenv(library.VARIABLE, raising=False)
    patch.setattr(variants, "FLAGS", ("-O0", *variants.FLAGS[1:]))
    library.outcome.cache_clear()
    yield cache
    library.outcome.cache_clear()


def made(shape: MemoryShape, **options: object) -> ExactMemory:
    """Exact search's memory with these options."""
    memory = create_memory("exact", shape, **options)
    assert isinstance(memory, ExactMemory)
    return memory
