"""The kit over every bundled backend, and over a memory with its own storage.

Long: what another class of the same backend, or the same store under another backend, asks in every run.
"""

from tempfile import gettempdir
from typing import Any, ClassVar

import pytest
import torch
from helpers.first_pass import needs_kernel
from helpers.list_memory import ListMemory

import memstack
from memstack.contract.metrics import recall_by_score
from memstack.plugins.registry import registry
from memstack.testing import MemoryContract
from memstack.testing.assertions import ensure_same_state
from memstack.testing.harness import CHUNK, SHAPE, Data
from memstack.testing.stateful import run_machine

BUNDLED = [offer.spec.name for offer in registry().offers() if offer.distribution.startswith("memstack ")]


def needs(name: str) -> pytest.MarkDecorator:
    """Skip, saying which library is missing, where a backend cannot run."""
    missing = registry().spec(name).missing()
    return pytest.mark.skipif(bool(missing), reason=f"{name} needs {', '.join(missing)}")


def with_options(name: str, **options: Any) -> dict[str, Any]:
    """The spec's test options and some more."""
    return {**registry().spec(name).test_options, **options}


class OtherNumbers(MemoryContract):
    """A backend whose numbers alone differ. What takes seconds, its first class has asked."""

    test_a_spawned_process_is_given_a_copy: Any = None
    test_any_sequence_of_steps: Any = None


class TestExact(MemoryContract):
    backend = "exact"


@pytest.mark.long
class TestExactDefaults(OtherNumbers):
    backend = "exact"
    options: ClassVar[Any] = {}


@needs_kernel
class TestExactFirstPass(OtherNumbers):
    backend = "exact"
    options: ClassVar[Any] = with_options("exact", first_pass="int8")


@pytest.mark.long
@needs_kernel
class TestExactFirstPassBFloat16Overlap(MemoryContract):
    backend = "exact"
    options: ClassVar[Any] = with_options("exact", first_pass="int8", dtype="bfloat16", overlap=True)


@pytest.mark.long
class TestExactBFloat16(OtherNumbers):
    backend = "exact"
    options: ClassVar[Any] = with_options("exact", dtype="bfloat16")


@pytest.mark.long
class TestExactFloat16(OtherNumbers):
    backend = "exact"
    options: ClassVar[Any] = with_options("exact", dtype="float16")


@pytest.mark.long
class TestExactInt8(MemoryContract):
    backend = "exact"
    options: ClassVar[Any] = with_options("exact", dtype="int8")


@pytest.mark.long
class TestExactOnDisk(MemoryContract):
    backend = "exact"
    options: ClassVar[Any] = with_options("exact", folder=gettempdir())


@pytest.mark.long
class TestExactOverlap(MemoryContract):
    backend = "exact"
    options: ClassVar[Any] = with_options("exact", overlap=True)


class TestBucketed(MemoryContract):
    backend = "bucketed"


@pytest.mark.long
class TestBucketedDefaults(OtherNumbers):
    backend = "bucketed"
    options: ClassVar[Any] = {}


@pytest.mark.long
class TestBucketedBFloat16Overlap(OtherNumbers):
    backend = "bucketed"
    options: ClassVar[Any] = with_options("bucketed", dtype="bfloat16", overlap=True)


@needs("faiss-ivf")
class TestFaissIVF(MemoryContract):
    backend = "faiss-ivf"


@pytest.mark.long
@needs("faiss-ivf")
class TestFaissIVFShards(OtherNumbers):
    """What stands in for removal on a GPU."""

    backend = "faiss-ivf"
    options: ClassVar[Any] = with_options("faiss-ivf", shards=3)


@pytest.mark.long
@needs("faiss-ivf")
class TestFaissIVFEightBits(OtherNumbers):
    backend = "faiss-ivf"
    options: ClassVar[Any] = with_options("faiss-ivf", codec="sq8", shards=5, overlap=True)


@pytest.mark.long
@needs("faiss-ivf")
class TestFaissIVFProductQuantised(OtherNumbers):
    backend = "faiss-ivf"
    options: ClassVar[Any] = with_options("faiss-ivf", codec="pq", rescored=8, dtype="bfloat16")


@needs("faiss-ivf")
class TestFaissIVFInt8OnDiskOverlap(MemoryContract):
    backend = "faiss-ivf"
    options: ClassVar[Any] = with_options("faiss-ivf", dtype="int8", folder=gettempdir(), overlap=True)
    test_a_spawned_process_is_given_a_copy: Any = None  # which TestFaissIVF has asked


@needs("hnsw")
class TestHNSW(MemoryContract):
    backend = "hnsw"


@pytest.mark.long
@needs("hnsw")
class TestHNSWBFloat16Overlap(OtherNumbers):
    backend = "hnsw"
    options: ClassVar[Any] = with_options("hnsw", dtype="bfloat16", overlap=True)


@pytest.mark.long
@needs("hnsw")
class TestHNSWInt8OnDisk(MemoryContract):
    backend = "hnsw"
    options: ClassVar[Any] = with_options("hnsw", dtype="int8", folder=gettempdir())


@needs("scann")
class TestScann(MemoryContract):
    backend = "scann"


@pytest.mark.long
@needs("scann")
class TestScannFloat16Overlap(OtherNumbers):
    backend = "scann"
    options: ClassVar[Any] = with_options("scann", dtype="float16", overlap=True)


@pytest.mark.long
@needs("scann")
class TestScannInt8OnDisk(MemoryContract):
    backend = "scann"
    options: ClassVar[Any] = with_options("scann", dtype="int8", folder=gettempdir())


@needs("jax")
class TestJax(MemoryContract):
    backend = "jax"


@pytest.mark.long
@needs("jax")
class TestJaxNative(OtherNumbers):
    backend = "jax"
    options: ClassVar[Any] = with_options("jax", reduction="native", dtype="bfloat16", overlap=True)


@pytest.mark.long
@needs("jax")
class TestJaxInt8OnDisk(MemoryContract):
    backend = "jax"
    options: ClassVar[Any] = with_options("jax", dtype="int8", folder=gettempdir())


@needs("qdrant")
class TestQdrant(MemoryContract):
    backend = "qdrant"


@pytest.mark.long
@needs("qdrant")
class TestQdrantFloat16InTurn(OtherNumbers):
    backend = "qdrant"
    options: ClassVar[Any] = with_options("qdrant", dtype="float16", overlap=False)


@pytest.mark.long
@needs("qdrant-graph")
class TestQdrantGraph(OtherNumbers):
    backend = "qdrant-graph"


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
    for memory, chunks in ((saving, 4), (loading, 1)):  # the ring of the first has gone round
        for _ in range(chunks):
            memory.add(data.keys(CHUNK), data.values(CHUNK))
    saving.reset(torch.tensor([False, True, False]))
    loading.load_state_dict(saving.state_dict())
    ensure_same_state(f"{source} to {target}", loading.state_dict(), saving.state_dict())
    loading.add(data.keys(2), data.values(2))
    queries = data.queries(16)
    found, truth = loading.search(queries, 8), loading.search_exactly(queries, 8)
    assert recall_by_score(found, truth) >= registry().spec(target).recall_floor - 0.1  # these keys have no clusters
    assert found.mask[1].sum(-1).max() == 2


@pytest.mark.long
@pytest.mark.parametrize(("name", "more"), [*((name, {}) for name in BUNDLED), ("faiss-ivf", {"shards": 3})])
def test_a_thousand_random_steps_give_what_plain_lists_give(name: str, more: dict[str, Any]) -> None:
    """The kit's own machine takes some hundreds, so that a check does not take long; ``make campaign`` 100,000."""
    if missing := registry().spec(name).missing():
        pytest.skip(f"{name} needs {', '.join(missing)}")
    options = with_options(name, **more)
    contract: MemoryContract = type("Contract", (MemoryContract,), {"backend": name, "options": options})()
    assert run_machine(contract.trial, examples=35, steps=50) >= 1000


def test_every_bundled_backend_is_under_the_contract() -> None:
    tested = {getattr(value, "backend", None) for name, value in globals().items() if name.startswith("Test")}
    assert set(BUNDLED) - tested == set()
