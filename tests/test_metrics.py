"""Recall by position, attention-mass recall, perplexity, bits per byte; and the wrappers that measure."""

import math

import pytest
import torch

from memstack import Memory, MemoryShape, create_memory
from memstack.metrics import attention_mass_recall, bits_per_byte, perplexity, recall
from memstack.probes import RecallProbe, TimedMemory

SHAPE = MemoryShape(rows=1, heads=1, key_dim=2, value_dim=2, capacity=8)


def filled(keys: list[list[float]]) -> Memory:
    memory = create_memory("exact", SHAPE)
    data = torch.tensor(keys, dtype=torch.float32).view(1, 1, -1, 2)
    memory.add(data, data)
    return memory


QUERY = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)


def test_recall_counts_true_neighbours_by_position() -> None:
    truth = filled([[3, 0], [2, 0], [1, 0], [0, 0]]).search(QUERY, 2)
    found = filled([[3, 0], [0, 0], [2, 0], [0, 0]]).search(QUERY, 2)
    assert recall(truth, truth) == 1.0
    assert recall(found, truth) == 0.5


def test_recall_ignores_missing_columns() -> None:
    truth = filled([[3, 0]]).search(QUERY, 4)
    assert recall(truth, truth) == 1.0
    assert recall(create_memory("exact", SHAPE).search(QUERY, 4), truth) == 0.0


def test_attention_mass_recall_weighs_what_was_missed() -> None:
    """Missing the second of scores 3 and 2 costs its softmax weight, e^2 / (e^3 + e^2)."""
    truth = filled([[3, 0], [2, 0], [1, 0], [0, 0]]).search(QUERY, 2)
    found = filled([[3, 0], [0, 0], [2, 0], [0, 0]]).search(QUERY, 2)
    assert attention_mass_recall(found, truth) == pytest.approx(math.e**3 / (math.e**3 + math.e**2))
    assert attention_mass_recall(found, truth, scale=100.0) == pytest.approx(1.0)


def test_perplexity_and_bits_per_byte() -> None:
    assert perplexity(10 * math.log(7), 10) == pytest.approx(7)
    assert bits_per_byte(8 * math.log(2), 4) == pytest.approx(2)
    assert math.isnan(perplexity(0.0, 0))
    assert math.isnan(bits_per_byte(0.0, 0))


def test_the_timer_adds_up_and_starts_again() -> None:
    timed = TimedMemory(create_memory("exact", SHAPE))
    timed.add(torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 3, 2))
    timed.search(QUERY, 2)
    timed.reset()
    assert all(seconds > 0 for seconds in timed.take().values())
    assert timed.take() == {"search": 0.0, "add": 0.0, "reset": 0.0}


def test_the_probe_measures_what_the_memory_inside_misses() -> None:
    """A memory that has lost half of what the truth still holds finds half."""
    inside = filled([[9, 0]])
    probe = RecallProbe(inside, create_memory("exact", SHAPE))
    probe.search(QUERY, 2)
    probe.truth.add(torch.tensor([[[[9.0, 0.0], [5.0, 0.0]]]]), torch.zeros(1, 1, 2, 2))
    probe.search(QUERY, 2)
    assert probe.measured == [1.0, 0.5]


def test_the_probe_keeps_both_memories_in_step() -> None:
    probe = RecallProbe(create_memory("exact", SHAPE), create_memory("exact", SHAPE), every=2)
    for step in range(4):
        data = torch.randn(1, 1, 3, 2, generator=torch.Generator().manual_seed(step))
        probe.add(data, data)
        probe.search(QUERY, 4)
    copy = RecallProbe(create_memory("exact", SHAPE), create_memory("exact", SHAPE))
    copy.load_state_dict(probe.state_dict())
    copy.search(QUERY, 4)
    assert probe.measured == [1.0, 1.0]
    assert copy.measured == [1.0]
    probe.reset(torch.tensor([True]))
    assert probe.lengths.tolist() == probe.truth.lengths.tolist() == [0]
