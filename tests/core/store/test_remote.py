"""RemoteMemory: what a store that fails, forgets, comes late or is slow does to the entries of a memory: nothing."""

import time
from typing import Any

import pytest
import torch
from helpers.fake_store import FakeMemory, FakeStore, store_of

from memstack import MemoryShape, MemoryUnavailableError, ShapeError
from memstack.store.remote.ledger import MOST_BYTES, MOST_QUERIES
from memstack.store.remote.letters import MOST_POINTS
from memstack.store.remote.windows import MOST_MEMORIES, Row
from memstack.testing import MemoryContract
from memstack.testing.harness import Trial

SHAPE = MemoryShape(rows=2, heads=2, key_dim=4, value_dim=3, capacity=32)
QUICK: dict[str, Any] = {"timeout": 0.2, "patience": 0.3}


class TestFake(MemoryContract):
    backend = staticmethod(FakeMemory)
    exact = True
    test_a_spawned_process_is_given_a_copy: Any = None  # which an engine is asked
    test_any_sequence_of_steps: Any = None


def trial(**options: Any) -> tuple[Trial, FakeStore]:
    memory = FakeMemory(SHAPE, FakeMemory.Options(**QUICK, **options))
    return Trial(memory, exact=True), store_of(memory)


def test_reset_and_eviction_are_right_before_the_store_forgets() -> None:
    one, store = trial()
    store.forgetful = False
    for _ in range(5):
        one.add(20)
        one.check(k=40)
    one.reset(True, False)
    one.check(k=40)
    one.add(7)
    one.check(k=40)
    assert store.count(1) == 4 * 107


def test_the_store_is_told_to_forget_what_is_no_longer_live() -> None:
    one, store = trial()
    for _ in range(40):
        one.add(11)
        one.check()
    assert store.count(1) <= 4 * (32 + 2 * 11 + 32 // 4)


def test_answers_that_are_lost_leave_no_trace() -> None:
    one, store = trial()
    for number in range(6):
        store.losing = number % 3
        one.add(5)
        store.losing = number % 2
        one.check()
    assert store.count(1) == 4 * 30
    assert sum(len(each.ids) for each in store.sent) > 4 * 30  # sent more than once


def test_an_add_does_not_wait_for_a_store_that_is_away() -> None:
    one, store = trial()
    store.failing = 1000
    one.add(6)
    assert one.memory.unsent == 4 * 6  # type: ignore[attr-defined]
    with pytest.raises(MemoryUnavailableError, match=r"away; it was tried \d+ times in 0.3 s, and 24 entries are unse"):
        one.memory.search(one.data.queries(1), 3)
    store.failing = 0
    one.check()
    assert one.memory.unsent == 0  # type: ignore[attr-defined]


def test_unsent_entries_never_exceed_the_bound() -> None:
    one, store = trial(pending=50)
    store.failing = 10**9
    one.add(6)
    one.add(6)
    with pytest.raises(MemoryUnavailableError, match="48 entries are unsent and kept"):
        one.memory.add(one.data.keys(6), one.data.values(6))
    one.check_counts()  # nothing of the third
    store.failing = 3
    one.add(6)
    one.check()


@pytest.mark.parametrize("overlap", [True, False])
def test_an_add_that_is_larger_than_the_bound_is_stored_before_it_counts(overlap: bool) -> None:
    one, store = trial(pending=50, overlap=overlap)
    one.add(3)
    before = one.memory.state_dict()
    store.failing = 10**9
    keys, values = one.data.keys(20), one.data.values(20)
    with pytest.raises(MemoryUnavailableError):
        one.memory.add(keys, values)
    store.failing = 0
    assert all(torch.equal(part, before[name]) for name, part in one.memory.state_dict().items())
    late = store.sent[-1]
    for _ in range(3):
        one.add(16)
        one.check(k=40)
    store._store(late)  # comes after all, and changes nothing
    one.check(k=40)


def test_a_load_that_failed_changes_nothing() -> None:
    one, store = trial()
    one.add(9)
    other, _ = trial()
    other.add(40)
    state = other.memory.state_dict()
    store.failing = 10**9
    with pytest.raises(MemoryUnavailableError):
        one.memory.load_state_dict(state)
    store.failing = 0
    one.check()
    one.add(30)
    one.check(k=40)
    one.memory.load_state_dict(state)
    one.oracle = other.oracle
    one.check(k=40)


def test_what_a_reset_forgot_need_not_arrive() -> None:
    one, store = trial()
    store.failing = 10**9
    one.add(4)
    one.reset(True, True)
    assert one.memory.unsent == 0  # type: ignore[attr-defined]
    store.failing = 0
    one.check()


def test_a_store_that_lost_entries_is_an_error() -> None:
    """Never fewer neighbours in silence."""
    one, store = trial()
    one.add(9)
    one.check()
    del store.held[next(iter(store.held))]
    with pytest.raises(MemoryUnavailableError, match="has lost entries that it had acknowledged"):
        one.memory.search(one.data.queries(1), 40)
    with pytest.raises(MemoryUnavailableError, match=r"\(17 of 18 entries are there\)|35 of 36"):
        one.memory.state_dict()
    one.reset(True, True)
    one.add(3)
    one.check()


def test_what_is_refused_is_not_tried_again() -> None:
    one, store = trial()
    one.add(3)
    one.check()
    store.refusing = True
    tries = len(store.seconds)
    with pytest.raises(MemoryUnavailableError, match="refused"):
        one.memory.search(one.data.queries(1), 3)
    assert len(store.seconds) == tries + 1


def test_a_deadline_is_in_proportion_to_what_is_asked() -> None:
    shape = MemoryShape(rows=1, heads=1, key_dim=2, value_dim=2, capacity=20_000)
    memory = FakeMemory(shape, FakeMemory.Options(timeout=5, overlap=False))
    store = store_of(memory)
    memory.add(torch.ones(1, 1, 10_000, 2), torch.ones(1, 1, 10_000, 2))
    assert [len(each.ids) for each in store.sent] == [MOST_POINTS, MOST_POINTS, 10_000 - 2 * MOST_POINTS]
    assert store.seconds[1] == pytest.approx(5 + 0.002 * MOST_POINTS)
    store.held = dict(list(store.held.items())[:8])
    with pytest.raises(MemoryUnavailableError):
        memory.search(torch.ones(1, 1, 2, 2), 9)
    assert store.seconds[-1] == pytest.approx(5 + 0.02 * 2)


def test_a_request_is_bounded_by_its_queries_and_by_what_they_bring() -> None:
    memory = FakeMemory(SHAPE)
    store = store_of(memory)
    memory.add(torch.ones(2, 2, 1, 4), torch.ones(2, 2, 1, 3))
    memory.search(torch.ones(2, 2, 700, 4), 1)
    assert store.batches == [700, 700, 700, 700]
    assert max(store.batches) <= MOST_QUERIES
    ledger: Any = vars(memory)["_RemoteMemory__ledger"]
    asked = list(ledger._requests(torch.ones(2, 2, 5, 4), 3))
    assert [sum(len(each.queries) for each in request) for request in asked] == [3, 2, 3, 2, 3, 2, 3, 2]
    assert MOST_BYTES // (4 * 100_000 * 256) == 0  # of which one query is asked at a time


def test_a_call_ends_though_its_store_never_answers() -> None:
    class Slow(FakeStore):
        def search(self, asked: Any, k: int, seconds: float, **how: Any) -> Any:
            time.sleep(seconds)
            self.failing = 1
            self._request(seconds)

    one, store = trial()
    one.add(3)
    one.check()
    store.__class__ = Slow
    begun = time.monotonic()
    with pytest.raises(MemoryUnavailableError):
        one.memory.search(one.data.queries(1), 3)
    assert time.monotonic() - begun < 0.3 + 1


def test_more_memories_than_ids_tell_apart_are_refused() -> None:
    rows = MOST_MEMORIES // 2 + 1
    with pytest.raises(ShapeError, match=f"at most 65,536 rows x heads, got {rows} x 2"):
        FakeMemory(MemoryShape(rows=rows, heads=2, key_dim=1, value_dim=1, capacity=1))


def test_a_dropped_memory_closes_its_store() -> None:
    memory = FakeMemory(SHAPE)
    store = store_of(memory)
    assert store.open_
    del memory
    assert store.closed


def test_numbers_that_were_used_up_are_never_used_again() -> None:
    row = Row().extended(4, 0, 0, 8)._replace(next=10)
    row = row.extended(3, 0, row.next, 8)
    assert row.live == (range(4), range(10, 13))
    assert row.numbers().tolist() == [0, 1, 2, 3, 10, 11, 12]
    assert row.positions(row.numbers()).tolist() == list(range(7))
    assert row.positions(torch.tensor([5, 9, 13]).numpy()).tolist() == [-1, -1, -1]
    row = row.extended(4, 0, row.next, 8)
    assert row.live == (range(3, 4), range(10, 17))
    assert row.positions(row.numbers()).tolist() == list(range(3, 11))
    row = row.extended(8, 5, row.next, 8)
    assert row.live == (range(17, 25),)
    assert (row.written, row.length) == (24, 8)
