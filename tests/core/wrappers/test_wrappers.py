"""The wrappers: what the timer adds up, what the probe measures, and what it does below its floor."""

import warnings
from typing import Any

import pytest
import torch
from helpers.list_memory import ListMemory

from memstack import IndexedMemory, Memory, MemoryShape, create_memory
from memstack.wrappers.recall_probe import RecallProbe, RecallWarning
from memstack.wrappers.timing import TimedMemory

SHAPE = MemoryShape(rows=2, heads=1, key_dim=4, value_dim=2, capacity=16)


class Forgetful(IndexedMemory):
    """Searches only the first ``known`` slots."""

    known = 0

    def index_add(self, rows: Any, slots: Any, keys: Any) -> None:
        """The store is what is searched."""

    def index_search(self, queries: torch.Tensor, k: int) -> torch.Tensor:
        return torch.arange(self.known).expand(*queries.shape[:3], self.known)

    def index_forget(self, rows: Any) -> None:
        """The store is what is searched."""


def fill(memory: Memory, n: int = 8, seed: int = 0) -> None:
    random = torch.Generator().manual_seed(seed)
    memory.add(torch.randn(2, 1, n, 4, generator=random), torch.randn(2, 1, n, 2, generator=random))


def queries(q: int = 5) -> torch.Tensor:
    return torch.randn(2, 1, q, 4, generator=torch.Generator().manual_seed(9))


def forgetful(known: int) -> Forgetful:
    memory = Forgetful(SHAPE)
    memory.known = known
    return memory


def test_the_timer_adds_up_and_starts_again() -> None:
    timed = TimedMemory(create_memory("exact", SHAPE))
    fill(timed)
    timed.search(queries(), 2)
    timed.reset()
    assert all(seconds > 0 for seconds in timed.take().values())
    assert timed.take() == {"search": 0.0, "add": 0.0, "reset": 0.0}


def test_the_probe_measures_what_the_memory_inside_misses() -> None:
    inside = forgetful(0)
    probe = RecallProbe(inside)
    fill(probe)
    for known in (8, 4):
        inside.known = known
        probe.search(queries(), 8)
    whole, half = probe.take()
    assert (whole.recall, half.recall) == (1.0, 0.5)
    assert whole.attention_mass_recall == pytest.approx(1.0)
    assert 0 < half.attention_mass_recall < 1
    assert probe.take() == []


def test_a_probed_search_answers_as_the_memory_inside() -> None:
    inside = forgetful(3)
    fill(inside)
    probe = RecallProbe(inside)
    assert torch.equal(probe.search(queries(), 4).positions, inside.search(queries(), 4).positions)


def test_the_age_is_counted_in_entries_since_the_last_reset() -> None:
    probe = RecallProbe(forgetful(1))
    fill(probe)
    probe.search(queries(), 1)
    probe.reset(torch.tensor([True, False]))
    fill(probe, 2)
    probe.search(queries(), 1)
    first, second = probe.take()
    assert first.age == 8  # slot 0 held the oldest of eight
    assert second.age == (2 + 10) / 2


def test_the_probe_compares_every_so_many_searches_and_none_of_an_empty_memory() -> None:
    probe = RecallProbe(create_memory("exact", SHAPE), every=3)
    probe.search(queries(), 2)
    fill(probe)
    for _ in range(6):
        probe.search(queries(), 2)
    assert [probed.recall for probed in probe.take()] == [1.0, 1.0]


def test_the_probe_compares_no_more_queries_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = forgetful(8)
    compared: list[int] = []
    exactly = inside.search_exactly

    def watched(asked: torch.Tensor, k: int) -> Any:
        compared.append(asked.shape[2])
        return exactly(asked, k)

    monkeypatch.setattr(inside, "search_exactly", watched)
    probe = RecallProbe(inside, sampled=3)
    fill(probe)
    for q in (10, 2):
        probe.search(queries(q), 4)
    assert compared == [3, 2]


def test_below_the_floor_it_warns_once_and_goes_on_with_the_index() -> None:
    probe = RecallProbe(forgetful(2), floor=0.9)
    fill(probe)
    with pytest.warns(RecallWarning, match=r"recall is 0\.250, below the floor of 0\.900: going on with it"):
        found = probe.search(queries(), 8)
    assert not probe.fallen_back
    assert int(found.mask.sum(-1).max()) == 2
    with warnings.catch_warnings(action="error"):
        probe.search(queries(), 8)


def test_below_the_floor_it_falls_back_to_exact_search_and_recovers() -> None:
    inside = forgetful(2)
    probe = RecallProbe(inside, every=2, floor=0.9, below="fallback")
    fill(probe)
    with pytest.warns(RecallWarning, match="searching exactly until it recovers"):
        compared = probe.search(queries(), 8)
    with warnings.catch_warnings(action="error"):
        between = probe.search(queries(), 8)
        assert probe.fallen_back
        assert bool(compared.mask.all())
        assert bool(between.mask.all())
        inside.known = 16
        probe.search(queries(), 8)
    assert not probe.fallen_back


def test_a_memory_with_its_own_storage_is_probed_by_its_state() -> None:
    probe = RecallProbe(TimedMemory(ListMemory(SHAPE)), floor=1.0)
    fill(probe, 20)
    probe.search(queries(), 4)
    assert [probed.recall for probed in probe.take()] == [1.0]


def test_a_probe_round_a_memory_in_use_knows_how_old_its_entries_are() -> None:
    inside = forgetful(1)
    fill(inside, 12)
    probe = RecallProbe(inside)
    probe.search(queries(), 1)
    assert probe.take()[0].age == 12


def test_a_probe_of_every_0_compares_nothing() -> None:
    probe = RecallProbe(forgetful(1), every=0)
    fill(probe)
    probe.search(queries(), 4)
    assert probe.take() == []


def test_exact_search_in_place_of_the_memorys_is_timed_as_a_search() -> None:
    timed = TimedMemory(forgetful(1))
    probe = RecallProbe(timed, every=5, floor=1.0, below="fallback")
    fill(probe)
    with pytest.warns(RecallWarning):
        probe.search(queries(), 8)
    timed.take()
    probe.search(queries(), 8)
    assert timed.take()["search"] > 0


def test_the_wrappers_pass_state_on() -> None:
    probe = RecallProbe(TimedMemory(forgetful(4)))
    fill(probe, 11)
    copy = RecallProbe(TimedMemory(create_memory("exact", SHAPE)))
    copy.load_state_dict(probe.state_dict())
    assert copy.lengths.tolist() == probe.lengths.tolist() == [11, 11]
    copy.search(queries(), 4)
    assert copy.take()[0].recall == 1.0
