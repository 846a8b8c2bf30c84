"""IndexedMemory's side of the bargain: what it tells an index, and what it does with a bad index's proposals."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from memstack import IndexedMemory, MemoryShape, NonFiniteError, StateError
from memstack.testing.harness import Data

SHAPE = MemoryShape(rows=3, heads=2, key_dim=4, value_dim=3, capacity=10)


class Recorder(IndexedMemory):
    """An index that writes down what it is told and proposes what it is told to propose."""

    def __init__(self, shape: MemoryShape, options: IndexedMemory.Options | None = None) -> None:
        super().__init__(shape, options)
        self.added: list[tuple[list[int], list[list[int]], Tensor]] = []
        self.forgotten: list[list[bool]] = []
        self.searched: list[tuple[Tensor, int]] = []
        self.propose: Callable[[int], list[int]] = lambda k: list(range(k))
        self.fails = False

    def index_add(self, rows: Tensor, slots: Tensor, keys: Tensor) -> None:
        if self.fails:
            raise RuntimeError("the index is full")
        self.added.append((rows.tolist(), slots.tolist(), keys.clone()))

    def index_search(self, queries: Tensor, k: int) -> Tensor:
        self.searched.append((queries.clone(), k))
        slots = torch.tensor(self.propose(k), dtype=torch.int64)
        return slots.expand(*queries.shape[:3], -1)

    def index_forget(self, rows: Tensor) -> None:
        self.forgotten.append(rows.tolist())


@pytest.fixture
def memory() -> Recorder:
    return Recorder(SHAPE)


@pytest.fixture
def data() -> Data:
    return Data(SHAPE)


def fill(memory: IndexedMemory, data: Data, n: int) -> Tensor:
    keys = data.keys(n)
    memory.add(keys, data.values(n))
    return keys


def test_the_index_is_told_slots_in_a_ring(memory: Recorder, data: Data) -> None:
    first, second = fill(memory, data, 7), fill(memory, data, 6)
    (rows, slots, keys), (_, wrapped, more) = memory.added
    assert rows == [0, 1, 2]
    assert slots == [[0, 1, 2, 3, 4, 5, 6]] * 3
    assert wrapped[0] == [7, 8, 9, 0, 1, 2]
    assert torch.equal(keys, first)
    assert torch.equal(more, second)


def test_rows_have_slots_of_their_own_after_a_reset(memory: Recorder, data: Data) -> None:
    fill(memory, data, 3)
    memory.reset(torch.tensor([False, True, False]))
    fill(memory, data, 2)
    assert memory.forgotten == [[False, True, False]]
    assert memory.added[1][1] == [[3, 4], [0, 1], [3, 4]]


def test_of_a_large_chunk_the_index_sees_the_newest_capacity(memory: Recorder, data: Data) -> None:
    keys = fill(memory, data, 13)
    _, slots, seen = memory.added[0]
    assert slots[0] == [3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert torch.equal(seen, keys[:, :, 3:])


def test_the_index_is_not_asked_about_nothing(memory: Recorder, data: Data) -> None:
    memory.search(data.queries(2), 3)
    fill(memory, data, 0)
    fill(memory, data, 2)
    memory.search(data.queries(0), 3)
    assert memory.searched == []
    assert len(memory.added) == 1


def test_the_index_is_asked_for_no_more_than_there_is(memory: Recorder, data: Data) -> None:
    fill(memory, data, 4)
    memory.search(data.queries(2, group=3).double(), 8)
    ((queries, k),) = memory.searched
    assert k == 4
    assert queries.shape == (SHAPE.rows, SHAPE.heads, 3 * 2, SHAPE.key_dim)
    assert queries.dtype == torch.float32


@pytest.mark.parametrize(
    ("proposed", "positions"),
    [
        ([], []),
        ([-1, -1], []),
        ([9, 8, 7, 6], []),
        ([2, -1, 9, 0], [0, 2]),
        ([1, 10, 2**40, -7], [1]),
        ([3, 1, 3, 3], [1, 3]),
        (list(range(10)), [0, 1, 2, 3]),
    ],
)
def test_bad_proposals_cost_recall_and_nothing_else(
    memory: Recorder, data: Data, proposed: list[int], positions: list[int]
) -> None:
    fill(memory, data, 4)
    memory.propose = lambda k: proposed
    queries = data.queries(2)
    found = memory.search(queries, 5)
    assert found.scores.shape == (SHAPE.rows, SHAPE.heads, 2, 5)
    assert found.positions.sort(-1).values.flatten(0, 2).unique(dim=0).tolist() == [
        [-1] * (5 - len(positions)) + positions
    ]
    true = torch.einsum("rhqkd,rhqd->rhqk", found.keys, queries).masked_fill(~found.mask, -torch.inf)
    torch.testing.assert_close(found.scores, true.sort(-1, descending=True).values)


def test_a_score_that_overflows_is_a_missing_column_at_the_right() -> None:
    memory = Recorder(MemoryShape(rows=1, heads=1, key_dim=1, value_dim=1, capacity=4))
    memory.propose = lambda k: [-1, 0, 1, -1]
    memory.add(torch.tensor([[[[1e25], [-1.0]]]]), torch.ones(1, 1, 2, 1))
    found = memory.search(torch.tensor([[[[-1e25]]]]), 4)
    assert found.positions.tolist() == [[[[1, -1, -1, -1]]]]


def test_an_index_that_fails_leaves_the_store_as_it_was(memory: Recorder, data: Data) -> None:
    fill(memory, data, 8)
    before, found = memory.state_dict(), memory.search(data.queries(2), 3)
    memory.fails = True
    with pytest.raises(RuntimeError, match="the index is full"):
        fill(memory, data, 4)
    after = memory.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert found.values.shape[-1] == SHAPE.value_dim


def test_a_refused_state_does_not_reach_the_index(memory: Recorder, data: Data) -> None:
    fill(memory, data, 4)
    state = memory.state_dict()
    with pytest.raises(StateError, match="values missing"):
        memory.load_state_dict({name: part for name, part in state.items() if name != "values"})
    with pytest.raises(StateError, match=r"counts, got \[-1, 4, 4\]"):
        memory.load_state_dict(state | {"written": torch.tensor([-1, 4, 4])})
    with pytest.raises(StateError, match=r"values should be floating point, got torch\.int64"):
        memory.load_state_dict(state | {"values": state["values"].long()})
    state["keys"][0, 0, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError):
        memory.load_state_dict(state)
    assert memory.forgotten == []
    assert len(memory.added) == 1


def test_loading_fills_the_index_row_by_row(memory: Recorder, data: Data) -> None:
    fill(memory, data, 12)
    memory.reset(torch.tensor([False, True, False]))
    fill(memory, data, 2)
    other = Recorder(SHAPE)
    other.load_state_dict(memory.state_dict())
    assert other.forgotten == [[True, True, True]]
    assert [(rows, slots[0]) for rows, slots, _ in other.added] == [
        ([0], [4, 5, 6, 7, 8, 9, 0, 1, 2, 3]),
        ([1], [0, 1]),
        ([2], [4, 5, 6, 7, 8, 9, 0, 1, 2, 3]),
    ]


def test_loading_does_not_keep_the_states_graph(memory: Recorder, data: Data) -> None:
    fill(memory, data, 4)
    state = memory.state_dict()
    state["keys"].requires_grad_()
    state["values"].requires_grad_()
    memory.load_state_dict(state)
    keys = memory.stored_keys
    assert isinstance(keys, torch.Tensor)
    assert not keys.requires_grad
    assert not memory.search(data.queries(1), 2).values.requires_grad


def test_a_key_that_overflows_the_stores_dtype_is_refused(data: Data) -> None:
    memory = Recorder(SHAPE, Recorder.Options(dtype="float16"))
    with pytest.raises(NonFiniteError, match="float16"):
        memory.add(data.keys(2) + 1e6, data.values(2))
    assert memory.lengths.tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_store_has_the_dtype_of_its_options(data: Data, dtype: str) -> None:
    memory = Recorder(SHAPE, Recorder.Options.model_validate({"dtype": dtype}))
    fill(memory, data, 3)
    state = memory.state_dict()
    assert state["keys"].dtype == state["values"].dtype == memory.stored_keys.dtype == getattr(torch, dtype)
    assert memory.search(data.queries(1), 2).scores.dtype == torch.float32
