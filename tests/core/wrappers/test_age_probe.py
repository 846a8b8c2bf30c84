"""AgeProbe: the mean age of what was found, counted by hand."""

import pytest
import torch

from memstack import MemoryShape, create_memory
from memstack.wrappers.age_probe import AgeProbe

SHAPE = MemoryShape(rows=2, heads=1, key_dim=4, value_dim=4, capacity=8)


def filled(n: int, every: int = 1, sampled: int = 64) -> AgeProbe:
    """Key i is the i-th unit vector, in both rows."""
    memory = AgeProbe(create_memory("exact", SHAPE), every, sampled=sampled)
    keys = torch.eye(4)[:n].expand(2, 1, n, 4)
    memory.add(keys, keys)
    return memory


def asked(memory: AgeProbe, *keys: int, k: int = 1) -> None:
    memory.search(torch.eye(4)[list(keys)].expand(2, 1, len(keys), 4), k)


def test_the_newest_entry_is_of_age_1() -> None:
    memory = filled(4)
    asked(memory, 3)
    assert memory.take() == 1.0
    asked(memory, 0)
    asked(memory, 1, 3)
    assert memory.take() == pytest.approx((4 + 3 + 1) / 3)
    assert memory.take() is None


def test_an_empty_memory_and_a_row_that_is_empty_do_not_count() -> None:
    memory = AgeProbe(create_memory("exact", SHAPE))
    asked(memory, 0)
    assert memory.take() is None
    memory = filled(4)
    memory.reset(torch.tensor([True, False]))
    asked(memory, 0)
    assert memory.take() == 4.0


def test_every_so_often_and_of_some_queries_only() -> None:
    memory = filled(4, every=2)
    asked(memory, 0)
    asked(memory, 3)
    assert memory.take() == 4.0
    memory = filled(4, sampled=2)
    asked(memory, 0, 3, 0, 3)
    assert memory.take() == 4.0
