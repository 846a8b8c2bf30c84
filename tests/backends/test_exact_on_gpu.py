"""Exact search on a GPU that is at hand: what ``auto`` takes there, and that it finds what the matrix product finds."""

import pytest
import torch
from helpers.card import on_card
from memstack_exact.choice import FAR
from memstack_exact.gpu.first_pass import GpuFirstPass
from memstack_exact.search import ExactMemory

from memstack import MemoryShape

pytestmark = on_card


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("capacity", [FAR, 1000])
def test_it_finds_what_the_matrix_product_finds(capacity: int, dtype: str) -> None:
    """In rings that have gone round, of which one was reset."""
    shape = MemoryShape(rows=2, heads=3, key_dim=40, value_dim=8, capacity=capacity)
    memory = ExactMemory(shape, ExactMemory.Options.model_validate({"device": "cuda", "dtype": dtype}))
    random = torch.Generator("cuda").manual_seed(0)
    for reset in (False, True):
        for _ in range(2):
            memory.add(*(torch.randn(2, 3, capacity // 2 + 7, dim, generator=random, device="cuda") for dim in (40, 8)))
        memory.reset(torch.tensor([False, reset]))
    memory.add(*(torch.randn(2, 3, 300, dim, generator=random, device="cuda") for dim in (40, 8)))
    queries = torch.randn(2, 6, 50, 40, generator=random, device="cuda")
    found, true = memory.search(queries, 32), memory.search_exactly(queries, 32)
    assert isinstance(memory.first_pass, GpuFirstPass) == (capacity == FAR)
    assert memory.lengths.tolist() == [capacity, 300]
    torch.testing.assert_close(found.scores, true.scores)
    assert (found.positions == true.positions).float().mean() > 0.98  # the rest tie in half precision
