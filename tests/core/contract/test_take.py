"""SearchResult.take: some columns of an answer, through either door and whatever the memory keeps them in."""

from collections.abc import Callable

import pytest
import torch
from helpers.list_memory import ListMemory
from torch import Tensor

from memstack import Memory, MemoryShape, SearchResult, StaleResultError, create_memory, search

SHAPE = MemoryShape(rows=2, heads=2, key_dim=4, value_dim=3, capacity=8)
K, COLUMNS = 6, torch.tensor([4, 0, 5])
Door = Callable[[Memory, Tensor, int], SearchResult]


def numbers(*size: int, seed: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def filled(memory: Memory) -> Memory:
    """One row has fewer entries than are asked for."""
    memory.add(numbers(2, 2, 7, 4, seed=0), numbers(2, 2, 7, 3, seed=1), torch.tensor([7, 5]))
    return memory


@pytest.fixture(params=["stored", "quantised", "fetched"])
def memory(request: pytest.FixtureRequest) -> Memory:
    if request.param == "fetched":
        return filled(ListMemory(SHAPE))
    return filled(create_memory("exact", SHAPE, dtype="int8" if request.param == "quantised" else "float32"))


@pytest.fixture(params=["the memory's own search", "memstack.search"])
def door(request: pytest.FixtureRequest) -> Door:
    return search if request.param == "memstack.search" else lambda memory, queries, k: memory.search(queries, k)


def taken(door: Door, memory: Memory, queries: Tensor) -> tuple[SearchResult, SearchResult, Tensor]:
    found = door(memory, queries, K)
    columns = COLUMNS.expand(*found.scores.shape[:3], -1)
    return found, found.take(columns), columns


def test_it_is_the_same_answer_with_these_columns_in_this_order(memory: Memory, door: Door) -> None:
    queries = numbers(2, 4, 3, 4, seed=2)
    found, some, columns = taken(door, memory, queries)
    for part in ("scores", "positions", "mask"):
        torch.testing.assert_close(getattr(some, part), getattr(found, part).gather(-1, columns), rtol=0, atol=0)
    torch.testing.assert_close(
        (some.keys, some.values), tuple(part[..., COLUMNS, :] for part in (found.keys, found.values))
    )
    for asked in (queries, queries + 1):
        torch.testing.assert_close(some.dot(asked), found.dot(asked).gather(-1, columns))
    weights = numbers(2, 4, 3, 3, seed=3)
    spread = torch.zeros(2, 4, 3, K).scatter(-1, columns, weights)
    torch.testing.assert_close(some.mix(weights), found.mix(spread))
    twice = some.take(columns[..., :1] * 0 + 2)
    torch.testing.assert_close(twice.scores, found.scores[..., 5:])
    torch.testing.assert_close(twice.values, found.values[..., 5:, :])


def test_its_gradients_are_those_of_the_columns(memory: Memory, door: Door) -> None:
    gradients = []
    for take in (True, False):
        queries = numbers(2, 4, 3, 4, seed=2).requires_grad_()
        weights = numbers(2, 4, 3, 3, seed=3).requires_grad_()
        found, some, columns = taken(door, memory, queries)
        scores = some.dot(queries) if take else found.dot(queries).gather(-1, columns)
        spread = torch.zeros(2, 4, 3, K).scatter(-1, columns, weights)
        mixed = some.mix(weights) if take else found.mix(spread)
        (scores.sigmoid().sum() + mixed.sigmoid().sum()).backward()
        gradients.append((queries.grad, weights.grad))
    torch.testing.assert_close(*gradients)


def test_it_goes_stale_with_the_answer(memory: Memory, door: Door) -> None:
    _, some, _ = taken(door, memory, queries := numbers(2, 4, 3, 4, seed=2))
    memory.reset()
    for read in (lambda: some.dot(queries), lambda: some.mix(some.scores), lambda: some.keys, lambda: some.values):
        with pytest.raises(StaleResultError):
            read()
