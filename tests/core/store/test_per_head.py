"""PerHeadIndexMemory: when it builds and builds again, what an index that fails does; writing in the background."""

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from memstack import MemoryShape, PerHeadIndexMemory, ShapeError, StaleResultError, create_memory
from memstack.plugins.registry import registry

SHAPE = MemoryShape(rows=2, heads=2, key_dim=4, value_dim=2, capacity=24)
BACKENDS = [offer.spec.name for offer in registry().offers() if offer.distribution.startswith("memstack ")]


class Scan:
    """An index that scans all it was given, and is needs_rebuild when told so."""

    needs_rebuild = False

    def __init__(self, keys: Any) -> None:
        self.keys = dict(enumerate(keys))

    def add(self, slots: Any, keys: Any) -> None:
        self.keys |= dict(zip(slots.tolist(), keys, strict=True))

    def search(self, queries: Any, k: int) -> Any:
        slots = np.array(list(self.keys))
        scores = queries @ np.stack(list(self.keys.values())).T
        return slots[np.argsort(-scores, 1)[:, :k]]


class ScanMemory(PerHeadIndexMemory):
    """Notes what it builds, and fails when told to."""

    def __init__(self, shape: MemoryShape, **options: Any) -> None:
        super().__init__(shape, self.Options(exact_below=10, **options))
        self.built: list[int] = []
        self.failing = threading.Event()

    def build_index(self, keys: Any) -> Scan:
        if self.failing.is_set():
            raise RuntimeError("the library has failed")
        self.built.append(len(keys))
        return Scan(keys)

    @property
    def indexes(self) -> list[Scan]:
        return [index for row in self._indexes.values() for index in row]  # type: ignore[misc]


def some(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(2, 2, n, 4, generator=random), torch.randn(2, 2, n, 2, generator=random)


def same_as_exact(memory: PerHeadIndexMemory, k: int = 5) -> bool:
    queries = torch.randn(2, 2, 6, 4, generator=torch.Generator().manual_seed(7))
    found, truth = memory.search(queries, k), memory.search_exactly(queries, k)
    return torch.equal(found.positions, truth.positions)


@pytest.fixture
def memory() -> ScanMemory:
    return ScanMemory(SHAPE)


def test_a_row_is_searched_exactly_until_it_is_long_enough(memory: ScanMemory) -> None:
    memory.add(*some(9))
    assert memory.built == []
    assert same_as_exact(memory)
    memory.add(*some(1, seed=1))
    assert memory.built == [10] * 4
    assert same_as_exact(memory)


def test_rows_are_indexed_one_by_one(memory: ScanMemory) -> None:
    memory.add(*some(8))
    memory.reset(torch.tensor([True, False]))
    memory.add(*some(4, seed=1))
    assert memory.built == [12] * 2  # two heads of row 1; row 0 has four entries
    assert same_as_exact(memory)
    memory.reset(torch.tensor([False, True]))
    assert memory.indexes == []
    assert same_as_exact(memory)


def test_a_worn_index_is_built_again_from_what_is_stored(memory: ScanMemory) -> None:
    memory.add(*some(20))
    memory.add(*some(9, seed=1))
    assert memory.built == [20] * 4
    for index in memory.indexes:
        index.needs_rebuild = True
    memory.add(*some(3, seed=2))
    assert memory.built == [20] * 4 + [24] * 4
    assert same_as_exact(memory, k=24)


def test_an_index_that_fails_loses_nothing_and_is_built_again(memory: ScanMemory) -> None:
    memory.add(*some(12))
    before = memory.state_dict()
    memory.failing.set()
    for index in memory.indexes:
        index.needs_rebuild = True
    with pytest.raises(RuntimeError, match="the library has failed"):
        memory.add(*some(3, seed=1))
    assert all(torch.equal(part, before[name]) for name, part in memory.state_dict().items())
    assert same_as_exact(memory)
    memory.failing.clear()
    memory.add(*some(3, seed=1))
    assert memory.built == [12] * 4 + [15] * 4
    assert same_as_exact(memory)


def test_threads_are_shared_out() -> None:
    assert ScanMemory(SHAPE, threads=8).threads_per_index == 2
    assert ScanMemory(SHAPE, threads=2).threads_per_index == 1


# Writing in the background --------------------------------------------------------------------------------------


class Gated(ScanMemory):
    """Its adds wait at a gate, so that a test can look while one is under way."""

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__(shape, overlap=True)
        self.gate = threading.Event()
        self.order: list[int] = []

    def index_add(self, rows: Any, slots: Any, keys: Any) -> None:
        assert self.gate.wait(timeout=60)
        self.order.append(slots.shape[1])
        super().index_add(rows, slots, keys)


@pytest.fixture
def gated() -> Iterator[Gated]:
    memory = Gated(SHAPE)
    yield memory
    memory.gate.set()


def test_an_overlapping_add_returns_before_it_is_done(gated: Gated) -> None:
    gated.add(*some(12))
    assert gated.order == []
    gated.gate.set()
    assert gated.lengths.tolist() == [12, 12]
    assert gated.order == [12]
    assert same_as_exact(gated)


def test_a_result_is_stale_as_soon_as_an_overlapping_add_begins(gated: Gated) -> None:
    found = gated.search(torch.zeros(2, 2, 1, 4), 3)
    gated.add(*some(3))
    with pytest.raises(StaleResultError):
        _ = found.values


@pytest.mark.parametrize("verb", ["search", "search_exactly", "add", "reset", "state_dict", "lengths", "stored_keys"])
def test_whatever_is_asked_next_waits_for_the_add(gated: Gated, verb: str) -> None:
    gated.add(*some(4))
    threading.Timer(0.05, gated.gate.set).start()
    asked = getattr(gated, verb)
    if callable(asked):
        search = verb.startswith("search")
        asked(*((torch.zeros(2, 2, 1, 4), 2) if search else some(2) if verb == "add" else ()))
    assert gated.order[0] == 4


def test_adds_keep_their_order() -> None:
    memory, plain = ScanMemory(SHAPE, overlap=True), ScanMemory(SHAPE)
    for seed, n in enumerate((5, 3, 9, 1, 7, 24, 30)):
        memory.add(*some(n, seed))
        plain.add(*some(n, seed))
    assert all(torch.equal(part, plain.state_dict()[name]) for name, part in memory.state_dict().items())
    assert same_as_exact(memory)


def test_a_reset_of_no_row_waits_for_no_add(gated: Gated) -> None:
    """As at most steps of a training loop, where no row starts a document."""
    gated.add(*some(4))
    gated.reset(torch.tensor([False, False]))
    assert gated.order == []
    gated.gate.set()
    assert gated.lengths.tolist() == [4, 4]


class ReadingMemory(ScanMemory):
    """Reads the store while it builds, in the pool's threads."""

    def build_index(self, keys: Any) -> Scan:
        assert self.stored_keys.shape[2] == SHAPE.capacity
        assert int(self.lengths.max()) < len(keys)  # the store is written afterwards
        return super().build_index(keys)


def test_building_may_read_the_store_in_an_overlapping_add() -> None:
    """In the pool's threads, which would otherwise wait for the add that waits for them."""
    memory = ReadingMemory(SHAPE, overlap=True)
    memory.add(*some(12))
    settled = threading.Thread(target=lambda: memory.lengths, daemon=True)
    settled.start()
    settled.join(timeout=60)
    assert not settled.is_alive()
    assert same_as_exact(memory)


def test_an_overlapping_adds_error_is_raised_at_the_next_call_and_loses_nothing() -> None:
    memory = ScanMemory(SHAPE, overlap=True)
    memory.failing.set()
    memory.add(*some(4))
    memory.add(*some(9, seed=1))  # the first to need an index
    with pytest.raises(RuntimeError, match="the library has failed"):
        memory.search(torch.zeros(2, 2, 1, 4), 2)
    memory.failing.clear()
    assert memory.lengths.tolist() == [4, 4]
    memory.add(*some(9, seed=1))
    assert memory.lengths.tolist() == [13, 13]
    assert same_as_exact(memory)


def test_a_bad_overlapping_add_is_refused_at_once() -> None:
    memory = ScanMemory(SHAPE, overlap=True)
    with pytest.raises(ShapeError):
        memory.add(torch.zeros(2, 2, 3, 4), torch.zeros(2, 2, 4, 2))


# Every bundled backend ------------------------------------------------------------------------------------------


def made(name: str, shape: MemoryShape = SHAPE, **options: Any) -> Any:
    spec = registry().spec(name)
    if missing := spec.missing():
        pytest.skip(f"{name} needs {', '.join(missing)}")
    return create_memory(name, shape, **{**spec.test_options, **options})


@pytest.mark.parametrize("name", BACKENDS)
def test_a_dropped_memory_is_freed_at_once(name: str) -> None:
    """Stores are gigabytes: they must not wait for the garbage collector to find a cycle."""
    memory = made(name, overlap=True)
    gc.collect()
    gc.disable()
    try:
        for seed in range(4):
            memory.add(*some(20, seed))
            memory.search(torch.zeros(2, 2, 1, 4), 3)
        gone = weakref.ref(memory)
        del memory
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("name", BACKENDS)
def test_huge_keys_are_found(name: str) -> None:
    """Finite keys are fine, whatever their size: a library that squares them must not see infinity."""
    memory = made(name)
    keys, values = some(24)
    keys[:, :, 3] *= 1e19
    memory.add(keys, values)
    memory.add(1e17 * keys[:, :, :5], values[:, :, :5])
    found = memory.search(keys[:, :, 3:4].sign(), 1)
    assert bool(found.mask.all())
    assert bool(found.scores.isfinite().all())


@pytest.mark.parametrize("name", BACKENDS)
def test_recall_is_kept_over_ten_turnovers(name: str) -> None:
    """Of clustered keys whose clusters move, as much is found after ten rounds of the ring as in the first."""
    shape = MemoryShape(rows=1, heads=2, key_dim=16, value_dim=1, capacity=256)
    memory = made(name, shape)
    random = torch.Generator().manual_seed(3)
    recalls: list[float] = []
    for _ in range(11):
        centres = torch.nn.functional.normalize(torch.randn(1, 2, 16, 16, generator=random), dim=-1)
        keys = centres.repeat(1, 1, 16, 1) + 0.1 * torch.randn(1, 2, 256, 16, generator=random)
        for chunk in keys.split(48, dim=2):
            memory.add(chunk, torch.zeros(*chunk.shape[:3], 1))
        queries = centres + 0.1 * torch.randn(1, 2, 16, 16, generator=random)
        found, truth = memory.search(queries, 8), memory.search_exactly(queries, 8)
        recalls.append(float((found.scores >= truth.scores[..., -1:] - 1e-5).float().mean()))
    floor = registry().spec(name).recall_floor
    assert min(recalls) >= floor
    assert recalls[-1] >= recalls[0] - 0.05


def test_adds_from_threads_that_end_wait_for_nothing() -> None:
    """The system gives a new thread the number of one that has ended: numbers say nothing about who is who."""
    memory = ScanMemory(SHAPE, overlap=True)
    for seed in range(8):
        for index in memory.indexes:
            index.needs_rebuild = True
        adder = threading.Thread(target=memory.add, args=some(6, seed))
        adder.start()
        adder.join()
    assert memory.lengths.tolist() == [24, 24]
    assert same_as_exact(memory)


def test_an_index_that_fails_in_a_search_is_set_aside(memory: ScanMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.add(*some(12))

    def fail(self: Scan, queries: Any, k: int) -> Any:
        raise RuntimeError("the library has failed")

    with monkeypatch.context() as patched:
        patched.setattr(Scan, "search", fail)
        with pytest.raises(RuntimeError, match="the library has failed"):
            memory.search(torch.zeros(2, 2, 1, 4), 2)
        assert same_as_exact(memory)
    memory.add(*some(1, seed=1))
    assert memory.built == [12] * 4 + [13] * 4


def test_an_interrupt_leaves_no_index_half_written(memory: ScanMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.add(*some(12))

    def interrupt(futures: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("memstack.store.per_head.wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            memory.add(*some(3, seed=1))
    assert memory.indexes == []
    assert memory.lengths.tolist() == [12, 12]
    assert same_as_exact(memory)


def test_a_load_that_fails_leaves_an_empty_memory_that_works(memory: ScanMemory) -> None:
    memory.add(*some(12))
    state = memory.state_dict()
    memory.failing.set()
    with pytest.raises(RuntimeError, match="the library has failed"):
        memory.load_state_dict(state)
    memory.failing.clear()
    assert memory.lengths.tolist() == [0, 0]
    memory.add(*some(11, seed=1))
    assert same_as_exact(memory)
