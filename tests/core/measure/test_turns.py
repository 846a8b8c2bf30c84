"""Calls timed in turns, every repeat kept, and what else the machine was doing."""

import os
from dataclasses import replace

import pytest
import torch

from memstack import MemoryShape, create_memory
from memstack.measure import Recording, Workload, measure_memory
from memstack.measure.hardware import Load, machine_load
from memstack.measure.keysets import KEY_SETS
from memstack.measure.measurement import add_entries
from memstack.measure.timing import Timing, time_in_turns

SHAPE = MemoryShape(rows=1, heads=2, key_dim=16, value_dim=4, capacity=64)


def test_calls_are_timed_in_turns_after_their_warm_up() -> None:
    calls: list[str] = []
    first, second = time_in_turns([lambda: calls.append("a"), lambda: calls.append("b")], repeats=3)
    assert "".join(calls) == "abababab"
    assert len(first.seconds) == len(second.seconds) == 3


def test_repeats_and_quartiles_are_milliseconds() -> None:
    timing = Timing((0.001, 0.002, 0.003, 0.004, 0.9))
    assert timing.repeats_ms == (1.0, 2.0, 3.0, 4.0, 900.0)
    assert timing.quartiles_ms == (2.0, 4.0)
    assert Timing((0.5,)).quartiles_ms == (500.0, 500.0)


def test_another_memory_is_asked_the_same_in_turns() -> None:
    beside = create_memory("exact", SHAPE)
    add_entries(beside, KEY_SETS["isotropic"](SHAPE, 0), 64)
    measured = measure_memory(create_memory("exact", SHAPE), "isotropic", queries=(8,), repeats=4, beside=beside)
    assert [len(each[8].seconds) for each in (measured.search, measured.beside)] == [4, 4]
    assert beside.lengths.tolist() == [64]
    alone = measure_memory(create_memory("exact", SHAPE), "isotropic", queries=(8,), repeats=1)
    assert alone.beside == {}


def test_a_point_keeps_every_repeat_and_those_of_exact_search_beside() -> None:
    keys = torch.randn(2, 300, 16, generator=torch.Generator().manual_seed(0)).half()
    workload = Workload(recording=Recording(keys, keys, 16), rows=1, heads=2, entries=64, neighbours=4, repeats=3)
    alone = workload.measure("exact", {})
    assert alone.search_repeats_ms is not None
    assert sorted(alone.search_repeats_ms)[1] == pytest.approx(alone.search_ms, abs=1e-3)
    assert alone.exact_repeats_ms is None
    beside = replace(workload, beside=workload.filled("exact")).measure("bucketed", {})
    assert beside.exact_repeats_ms is not None
    assert len(beside.exact_repeats_ms) == 3


def test_what_else_runs_is_told_by_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1.4, 0.0, 0.0))
    load = machine_load()
    assert load is not None
    assert load.average == 1.4
    assert str(Load(average=1.4, cores=2)) == "1.4 on 2 cores"
    assert Load(average=1.4, cores=2).others()
    assert not Load(average=1.4, cores=2).others(own=1)
    assert not Load(average=0.5, cores=2).others()


def test_a_system_that_tells_no_load_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg")
    assert machine_load() is None
