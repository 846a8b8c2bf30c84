"""One store for all: what rows find in it, and beside their own memory, is what plainer memories find."""

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor

from memstack import CopyError, Memory, MemoryShape, ShapeError, StateError, create_memory, search
from memstack.contract.result import SearchResult
from memstack.testing import MemoryContract
from memstack.testing.harness import SHAPE
from memstack.wrappers.common import BesideMemory, CommonMemory

ROWS, HEADS, DIM, VALUE, ENTRIES, K = 3, 2, 8, 6, 40, 7
STORE = MemoryShape(rows=1, heads=HEADS, key_dim=DIM, value_dim=VALUE, capacity=ENTRIES)
OWN = MemoryShape(rows=ROWS, heads=HEADS, key_dim=DIM, value_dim=VALUE, capacity=16)


class OverAnEmptyStore(MemoryContract):
    """The kit: beside a store without entries a memory is what it was."""

    def make(self, shape: MemoryShape = SHAPE, **options: Any) -> Memory:
        store = create_memory("exact", MemoryShape(**{**vars(shape), "rows": 1}))
        return BesideMemory(super().make(shape, **options), CommonMemory(store, shape.rows))


class TestBesideAnEmptyStore(OverAnEmptyStore):
    backend = "exact"


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def filled(shape: MemoryShape, seed: int, n: int, backend: str = "exact") -> Memory:
    memory = create_memory(backend, shape)
    memory.add(*contents(shape, seed, n))
    return memory


def contents(shape: MemoryShape, seed: int, n: int) -> tuple[Tensor, Tensor]:
    keys = numbers(seed, shape.rows, shape.heads, n, shape.key_dim)
    return keys, numbers(seed + 1, shape.rows, shape.heads, n, shape.value_dim)


def answered(memory: Memory, queries: Tensor, k: int = K) -> tuple[SearchResult, Tensor, Tensor]:
    """An answer, what is mixed of it, and the gradient of both in the queries, as a model has them."""
    asked = queries.clone().requires_grad_()
    found = search(memory, asked, k)
    mixed = found.mix(found.dot(asked).softmax(-1))
    mixed.square().sum().backward()
    assert asked.grad is not None
    return found, mixed.detach(), asked.grad


@pytest.mark.parametrize("query_heads", [HEADS, 2 * HEADS])
def test_folded_search_is_a_search_of_the_store_for_each_row(query_heads: int) -> None:
    store, queries = filled(STORE, 0, ENTRIES), numbers(9, ROWS, query_heads, 5, DIM)
    found, mixed, grad = answered(CommonMemory(store, ROWS), queries)
    for row in range(ROWS):
        alone, mixed_alone, grad_alone = answered(store, queries[row : row + 1])
        assert torch.equal(found.positions[row], alone.positions[0])
        torch.testing.assert_close(found.scores[row], alone.scores[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(mixed[row], mixed_alone[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(grad[row], grad_alone[0], rtol=0, atol=1e-6)
        assert torch.equal(found.keys[row], alone.keys[0])
        assert torch.equal(found.values[row], alone.values[0])


@pytest.mark.parametrize("own", [0, 3, 16])
def test_the_best_of_both_is_what_one_memory_of_both_finds(own: int) -> None:
    store, memory = filled(STORE, 0, ENTRIES), create_memory("exact", OWN)
    memory.add(*contents(OWN, 5, own))
    both = create_memory("exact", MemoryShape(**{**vars(OWN), "capacity": ENTRIES + 16}))
    both.add(*(part.expand(ROWS, -1, -1, -1) for part in contents(STORE, 0, ENTRIES)))
    both.add(*contents(OWN, 5, own))
    beside = BesideMemory(memory, CommonMemory(store, ROWS))
    assert torch.equal(beside.lengths, both.lengths)
    assert torch.equal(beside.written, both.written)
    queries = numbers(9, ROWS, 2 * HEADS, 5, DIM)
    for k in (1, K, 80):
        found, mixed, grad = answered(beside, queries, k)
        expected, mixed_there, grad_there = answered(both, queries, k)
        assert torch.equal(found.positions, expected.positions)
        assert torch.equal(found.scores, expected.scores)
        assert torch.equal(found.keys, expected.keys)
        assert torch.equal(found.values, expected.values)
        torch.testing.assert_close(mixed, mixed_there, rtol=0, atol=1e-6)
        torch.testing.assert_close(grad, grad_there, rtol=0, atol=1e-5)
        exactly = beside.search_exactly(queries, k)
        assert torch.equal(exactly.positions, expected.positions)


def test_columns_that_are_taken_of_both_are_those_columns() -> None:
    beside = BesideMemory(filled(OWN, 5, 10), CommonMemory(filled(STORE, 0, ENTRIES), ROWS))
    queries = numbers(9, ROWS, HEADS, 5, DIM)
    found = search(beside, queries, K)
    columns = torch.tensor([4, 0, 2]).expand(ROWS, HEADS, 5, 3)
    taken = found.take(columns)
    assert torch.equal(taken.keys, found.keys[..., [4, 0, 2], :])
    torch.testing.assert_close(taken.dot(2 * queries), found.dot(2 * queries)[..., [4, 0, 2]])


def test_what_is_written_goes_to_the_own_memory_alone() -> None:
    store = filled(STORE, 0, ENTRIES)
    before = store.state_dict()
    beside = BesideMemory(create_memory("exact", OWN), CommonMemory(store, ROWS))
    for n in (3, 20):
        beside.add(*contents(OWN, n, n))
    assert beside.lengths.tolist() == [ENTRIES + 16] * ROWS
    assert beside.written.tolist() == [ENTRIES + 23] * ROWS
    beside.reset(torch.tensor([True, False, False]))
    assert beside.lengths.tolist() == [ENTRIES, ENTRIES + 16, ENTRIES + 16]
    beside.select(torch.tensor([1, 0, 0]))
    assert beside.lengths.tolist() == [ENTRIES + 16, ENTRIES, ENTRIES]
    assert all(torch.equal(part, before[name]) for name, part in store.state_dict().items())


def test_a_state_holds_nothing_of_the_store() -> None:
    common = CommonMemory(filled(STORE, 0, ENTRIES), ROWS)
    beside = BesideMemory(filled(OWN, 5, 10), common)
    state = beside.state_dict()
    assert state["keys"].shape[2] == 10
    alone = create_memory("exact", OWN)
    alone.load_state_dict(state)
    beside.reset()
    beside.load_state_dict(alone.state_dict())
    assert beside.lengths.tolist() == [ENTRIES + 10] * ROWS
    assert common.state_dict()["keys"].numel() == 0
    common.load_state_dict(common.state_dict())
    full = create_memory("exact", common.shape)
    full.add(*contents(common.shape, 5, 4))
    with pytest.raises(StateError, match="only read"):
        common.load_state_dict(full.state_dict())


def test_a_store_alone_checks_what_it_is_given_and_keeps_nothing() -> None:
    common = CommonMemory(filled(STORE, 0, ENTRIES), ROWS)
    found = common.search(queries := numbers(9, ROWS, HEADS, 5, DIM), K)
    common.add(*contents(OWN, 5, 10))
    common.reset()
    common.select(torch.tensor([2, 1, 0]))
    assert common.lengths.tolist() == common.written.tolist() == [ENTRIES] * ROWS
    torch.testing.assert_close(found.dot(queries), found.scores)  # nothing has changed: it is as fresh as ever
    with pytest.raises(ShapeError, match="keys should be"):
        common.add(numbers(0, ROWS, HEADS, 2, DIM + 1), numbers(0, ROWS, HEADS, 2, VALUE))
    with pytest.raises(ShapeError, match="rows should be"):
        common.reset(torch.zeros(ROWS + 1, dtype=torch.bool))
    for ask, said in ((found.dot, "queries should have"), (found.mix, "weights should have")):
        with pytest.raises(ShapeError, match=said):
            ask(numbers(0, ROWS + 1, HEADS, 5, DIM))
    with pytest.raises(ShapeError, match="queries should be"):
        common.search(numbers(0, ROWS + 1, HEADS, 5, DIM), K)


def test_copies_read_the_same_store_and_are_not_sent_away() -> None:
    store = filled(STORE, 0, ENTRIES)
    beside = BesideMemory(filled(OWN, 5, 10), CommonMemory(store, ROWS))
    twin = copy.deepcopy(beside)
    assert twin.common.store is store
    twin.reset()
    assert beside.lengths.tolist() == [ENTRIES + 10] * ROWS
    with pytest.raises(CopyError, match="open it there"):
        torch.save(beside.common, io.BytesIO())


def test_what_does_not_fit_is_refused() -> None:
    store = filled(STORE, 0, ENTRIES)
    with pytest.raises(ShapeError, match="one row itself, got one of 3"):
        CommonMemory(create_memory("exact", OWN), 2)
    with pytest.raises(ShapeError, match="rows should be a whole number"):
        CommonMemory(store, 0)
    other = create_memory("exact", MemoryShape(**{**vars(OWN), "key_dim": DIM + 1}))
    with pytest.raises(ShapeError, match=r"\(3, 2, 9, 6\), got \(3, 2, 8, 6\)"):
        BesideMemory(other, CommonMemory(store, ROWS))


def test_an_approximate_search_of_either_is_said() -> None:
    exact, hashed = create_memory("exact", OWN), create_memory("bucketed", OWN)
    store = CommonMemory(filled(STORE, 0, ENTRIES), ROWS)
    assert BesideMemory(exact, store).exact
    assert not BesideMemory(hashed, store).exact
    assert not CommonMemory(filled(STORE, 0, ENTRIES, "bucketed"), ROWS).exact
