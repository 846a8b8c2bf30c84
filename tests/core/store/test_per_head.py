"""PerHeadIndexMemory: when it builds and builds again, and what an index that fails does."""

from typing import Any

import pytest
import torch
from helpers.scan_memory import SHAPE, Scan, ScanMemory, entries, same_as_exact


@pytest.fixture
def memory() -> ScanMemory:
    return ScanMemory(SHAPE)


def test_a_row_is_searched_exactly_until_it_is_long_enough(memory: ScanMemory) -> None:
    memory.add(*entries(9))
    assert memory.built == []
    assert same_as_exact(memory)
    memory.add(*entries(1, seed=1))
    assert memory.built == [10] * 4
    assert same_as_exact(memory)


def test_rows_are_indexed_one_by_one(memory: ScanMemory) -> None:
    memory.add(*entries(8))
    memory.reset(torch.tensor([True, False]))
    memory.add(*entries(4, seed=1))
    assert memory.built == [12] * 2  # two heads of row 1; row 0 has four entries
    assert same_as_exact(memory)
    memory.reset(torch.tensor([False, True]))
    assert memory.indexes == []
    assert same_as_exact(memory)


def test_a_worn_index_is_built_again_from_what_is_stored(memory: ScanMemory) -> None:
    memory.add(*entries(20))
    memory.add(*entries(9, seed=1))
    assert memory.built == [20] * 4
    for index in memory.indexes:
        index.needs_rebuild = True
    memory.add(*entries(3, seed=2))
    assert memory.built == [20] * 4 + [24] * 4
    assert same_as_exact(memory, k=24)


def test_an_index_that_fails_loses_nothing_and_is_built_again(memory: ScanMemory) -> None:
    memory.add(*entries(12))
    before = memory.state_dict()
    memory.failing.set()
    for index in memory.indexes:
        index.needs_rebuild = True
    with pytest.raises(RuntimeError, match="the library has failed"):
        memory.add(*entries(3, seed=1))
    assert all(torch.equal(part, before[name]) for name, part in memory.state_dict().items())
    assert same_as_exact(memory)
    memory.failing.clear()
    memory.add(*entries(3, seed=1))
    assert memory.built == [12] * 4 + [15] * 4
    assert same_as_exact(memory)


def test_threads_are_shared_out() -> None:
    assert ScanMemory(SHAPE, threads=8).threads_per_index == 2
    assert ScanMemory(SHAPE, threads=2).threads_per_index == 1


def test_an_index_that_fails_in_a_search_is_set_aside(memory: ScanMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.add(*entries(12))

    def fail(self: Scan, queries: Any, k: int) -> Any:
        raise RuntimeError("the library has failed")

    with monkeypatch.context() as patched:
        patched.setattr(Scan, "search", fail)
        with pytest.raises(RuntimeError, match="the library has failed"):
            memory.search(torch.zeros(2, 2, 1, 4), 2)
        assert same_as_exact(memory)
    memory.add(*entries(1, seed=1))
    assert memory.built == [12] * 4 + [13] * 4


def test_an_interrupt_leaves_no_index_half_written(memory: ScanMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.add(*entries(12))

    def interrupt(futures: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("memstack.store.per_head.wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            memory.add(*entries(3, seed=1))
    assert memory.indexes == []
    assert memory.lengths.tolist() == [12, 12]
    assert same_as_exact(memory)


def test_a_load_that_fails_leaves_an_empty_memory_that_works(memory: ScanMemory) -> None:
    memory.add(*entries(12))
    state = memory.state_dict()
    memory.failing.set()
    with pytest.raises(RuntimeError, match="the library has failed"):
        memory.load_state_dict(state)
    memory.failing.clear()
    assert memory.lengths.tolist() == [0, 0]
    memory.add(*entries(11, seed=1))
    assert same_as_exact(memory)
