"""The kit over every bundled backend, and over a memory with its own storage."""

from typing import Any, ClassVar

import pytest
import torch
from listed import ListMemory

import memstack
from memstack.registry import registry
from memstack.testing import MemoryContract
from memstack.testing.checks import ensure_same_state
from memstack.testing.subject import CHUNK, SHAPE, Data

BUNDLED = [offer.spec.name for offer in registry().offers() if offer.distribution.startswith("memstack ")]


def needs(name: str) -> pytest.MarkDecorator:
    """Skip, saying which library is missing, where a backend cannot run."""
    missing = registry().spec(name).missing()
    return pytest.mark.skipif(bool(missing), reason=f"{name} needs {', '.join(missing)}")


def with_options(name: str, **options: Any) -> dict[str, Any]:
    """The spec's test options and some more."""
    return {**registry().spec(name).test_options, **options}


class TestExact(MemoryContract):
    backend = "exact"


class TestExactDefaults(MemoryContract):
    backend = "exact"
    options: ClassVar[Any] = {}


class TestExactBFloat16(MemoryContract):
    backend = "exact"
    options: ClassVar[Any] = with_options("exact", dtype="bfloat16")


class TestExactFloat16(MemoryContract):
    backend = "exact"
    options: ClassVar[Any] = with_options("exact", dtype="float16")


@needs("hnsw")
class TestHNSW(MemoryContract):
    backend = "hnsw"


@needs("hnsw")
class TestHNSWBFloat16(MemoryContract):
    backend = "hnsw"
    options: ClassVar[Any] = with_options("hnsw", dtype="bfloat16")


class TestOwnStorage(MemoryContract):
    backend = staticmethod(ListMemory)
    exact = True


@pytest.mark.parametrize("target", BUNDLED)
@pytest.mark.parametrize("source", BUNDLED)
def test_any_backend_loads_what_any_other_saved(source: str, target: str) -> None:
    for name in (source, target):
        if missing := registry().spec(name).missing():
            pytest.skip(f"{name} needs {', '.join(missing)}")
    data = Data(SHAPE)
    saving, loading = (memstack.create_memory(name, SHAPE, **with_options(name)) for name in (source, target))
    for memory, chunks in ((saving, 4), (loading, 1)):
        for _ in range(chunks):
            memory.add(data.keys(CHUNK), data.values(CHUNK))
    saving.reset(torch.tensor([False, True, False]))
    loading.load_state_dict(saving.state_dict())
    ensure_same_state(f"{source} to {target}", loading.state_dict(), saving.state_dict())
    queries = data.queries(4)
    best = saving.search(queries, 3), loading.search(queries, 3)
    for row, empty in enumerate([False, True, False]):
        assert all(bool(found.mask[row].any()) is not empty for found in best)


def test_every_bundled_backend_is_under_the_contract() -> None:
    tested = {getattr(value, "backend", None) for name, value in globals().items() if name.startswith("Test")}
    assert set(BUNDLED) - tested == set()
