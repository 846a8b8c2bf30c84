"""Recall by position and by score, attention-mass recall, perplexity, bits per byte; and the wrappers that measure."""

import math

import pytest
import torch

from memstack import Memory, MemoryShape, create_memory
from memstack.contract.metrics import (
    attention_mass_recall,
    attention_mass_recall_by_score,
    bits_per_byte,
    perplexity,
    recall,
    recall_by_score,
)

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


def test_recall_by_score_takes_any_of_the_entries_that_tie() -> None:
    """The truth is one of the 2s beside the 3; another 2 is as right, a 1 is not."""
    truth = filled([[3, 0], [2, 0], [2, 0], [1, 0]]).search(QUERY, 2)
    other = filled([[3, 0], [1, 0], [1, 0], [2, 0]]).search(QUERY, 2)
    worse = filled([[3, 0], [1, 0], [1, 0], [1, 0]]).search(QUERY, 2)
    assert recall(other, truth) == 0.5
    assert recall_by_score(other, truth) == 1.0
    assert recall_by_score(worse, truth) == 0.5


def test_recall_by_score_tolerates_rounding_and_no_more() -> None:
    truth = filled([[1, 0]]).search(QUERY, 1)
    rounded = filled([[1 - 1e-6, 0]]).search(QUERY, 1)
    assert recall_by_score(rounded, truth) == 1.0
    assert recall_by_score(rounded, truth, tolerance=1e-7) == 0.0


def test_recall_by_score_ignores_missing_columns() -> None:
    truth = filled([[3, 0], [2, 0]]).search(QUERY, 4)
    empty = create_memory("exact", SHAPE).search(QUERY, 4)
    assert recall_by_score(truth, truth) == recall_by_score(empty, empty) == 1.0
    assert recall_by_score(filled([[3, 0]]).search(QUERY, 4), truth) == 0.5
    assert recall_by_score(empty, truth) == 0.0


def test_attention_mass_recall_by_score_weighs_what_was_missed() -> None:
    """Of scores 3 and 2 the second was missed; the 0 that was found instead does not count."""
    truth = filled([[3, 0], [2, 0], [1, 0], [0, 0]]).search(QUERY, 2)
    found = filled([[0, 0], [3, 0]]).search(QUERY, 2)
    assert attention_mass_recall_by_score(found, truth) == pytest.approx(math.e**3 / (math.e**3 + math.e**2))
    assert attention_mass_recall_by_score(found, truth, scale=100.0) == pytest.approx(1.0)
    empty = create_memory("exact", SHAPE).search(QUERY, 2)
    assert attention_mass_recall_by_score(empty, truth) == 0.0
    assert attention_mass_recall_by_score(empty, empty) == 1.0


def test_attention_mass_recall_by_score_takes_any_of_the_entries_that_tie() -> None:
    truth = filled([[3, 0], [2, 0], [2, 0]]).search(QUERY, 2)
    other = filled([[2, 0], [1, 0], [3, 0]]).search(QUERY, 2)
    assert attention_mass_recall_by_score(other, truth) == pytest.approx(1.0)


def test_recall_by_score_knows_how_far_float32_reaches() -> None:
    """Large scores differ in their last digits by more than small ones: they are found all the same."""
    truth = filled([[30_000_000, 0], [20_000_000, 0]]).search(QUERY, 2)
    near = filled([[30_000_000, 0], [19_999_998, 0]]).search(QUERY, 2)
    assert recall_by_score(near, truth) == 1.0


def test_perplexity_and_bits_per_byte() -> None:
    assert perplexity(10 * math.log(7), 10) == pytest.approx(7)
    assert bits_per_byte(8 * math.log(2), 4) == pytest.approx(2)
    assert math.isnan(perplexity(0.0, 0))
    assert math.isnan(bits_per_byte(0.0, 0))
