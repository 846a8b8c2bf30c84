"""Adds in the background and adds of several threads: what returns early, what waits, what becomes of an error."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from helpers.scan_memory import SHAPE, Scan, ScanMemory, entries, same_as_exact

from memstack import MemoryShape, ShapeError, StaleResultError


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
    gated.add(*entries(12))
    assert gated.order == []
    gated.gate.set()
    assert gated.lengths.tolist() == [12, 12]
    assert gated.order == [12]
    assert same_as_exact(gated)


def test_a_result_is_stale_as_soon_as_an_overlapping_add_begins(gated: Gated) -> None:
    found = gated.search(torch.zeros(2, 2, 1, 4), 3)
    gated.add(*entries(3))
    with pytest.raises(StaleResultError):
        _ = found.values


@pytest.mark.parametrize("verb", ["search", "search_exactly", "add", "reset", "state_dict", "lengths", "stored_keys"])
def test_whatever_is_asked_next_waits_for_the_add(gated: Gated, verb: str) -> None:
    gated.add(*entries(4))
    threading.Timer(0.05, gated.gate.set).start()
    asked = getattr(gated, verb)
    if callable(asked):
        search = verb.startswith("search")
        asked(*((torch.zeros(2, 2, 1, 4), 2) if search else entries(2) if verb == "add" else ()))
    assert gated.order[0] == 4


def test_adds_keep_their_order() -> None:
    memory, plain = ScanMemory(SHAPE, overlap=True), ScanMemory(SHAPE)
    for seed, n in enumerate((5, 3, 9, 1, 7, 24, 30)):
        memory.add(*entries(n, seed))
        plain.add(*entries(n, seed))
    assert all(torch.equal(part, plain.state_dict()[name]) for name, part in memory.state_dict().items())
    assert same_as_exact(memory)


def test_the_caller_may_change_what_it_gave(gated: Gated) -> None:
    (keys, values), lengths = entries(4), torch.tensor([4, 2])
    gated.add(keys, values, lengths)
    for given in (keys, values, lengths):
        given.zero_()
    gated.gate.set()
    assert gated.written.tolist() == [4, 2]
    assert torch.equal(gated.state_dict()["keys"][0], entries(4)[0][0])


def test_several_threads_may_wait_for_the_add(gated: Gated) -> None:
    gated.add(*entries(4))
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(lambda: gated.lengths.tolist()) for _ in range(8)]
        gated.gate.set()
        assert [each.result() for each in asked] == [[4, 4]] * 8


def test_a_reset_of_no_row_waits_for_no_add(gated: Gated) -> None:
    """As at most steps of a training loop, where no row starts a document."""
    gated.add(*entries(4))
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
    memory.add(*entries(12))
    settled = threading.Thread(target=lambda: memory.lengths, daemon=True)
    settled.start()
    settled.join(timeout=60)
    assert not settled.is_alive()
    assert same_as_exact(memory)


def test_an_overlapping_adds_error_is_raised_at_the_next_call_and_loses_nothing() -> None:
    memory = ScanMemory(SHAPE, overlap=True)
    memory.failing.set()
    memory.add(*entries(4))
    memory.add(*entries(9, seed=1))  # the first to need an index
    with pytest.raises(RuntimeError, match="the library has failed"):
        memory.search(torch.zeros(2, 2, 1, 4), 2)
    memory.failing.clear()
    assert memory.lengths.tolist() == [4, 4]
    memory.add(*entries(9, seed=1))
    assert memory.lengths.tolist() == [13, 13]
    assert same_as_exact(memory)


def test_a_bad_overlapping_add_is_refused_at_once() -> None:
    memory = ScanMemory(SHAPE, overlap=True)
    with pytest.raises(ShapeError):
        memory.add(torch.zeros(2, 2, 3, 4), torch.zeros(2, 2, 4, 2))


def test_adds_from_threads_that_end_wait_for_nothing() -> None:
    """The system gives a new thread the number of one that has ended: numbers say nothing about who is who."""
    memory = ScanMemory(SHAPE, overlap=True)
    for seed in range(8):
        for index in memory.indexes:
            index.needs_rebuild = True
        adder = threading.Thread(target=memory.add, args=entries(6, seed))
        adder.start()
        adder.join()
    assert memory.lengths.tolist() == [24, 24]
    assert same_as_exact(memory)
