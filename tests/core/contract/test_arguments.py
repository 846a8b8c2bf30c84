"""What is given that is no tensor, or not of the kind it should be, is refused in one line that says what came."""

from typing import Any

import numpy as np
import pytest
import torch
from memstack_exact.search import ExactMemory

from memstack import MemoryShape, ShapeError, StaleResultError, StateError, local_attention, select_rows

SHAPE = MemoryShape(rows=1, heads=1, key_dim=4, value_dim=4, capacity=8)
KEYS = torch.ones(1, 1, 3, 4)


def filled() -> ExactMemory:
    memory = ExactMemory(SHAPE)
    memory.add(KEYS, KEYS)
    return memory


@pytest.mark.parametrize(
    ("given", "came"),
    [
        (np.ones((1, 1, 3, 4), np.float32), r"numpy ndarray, float32 \(1, 1, 3, 4\): torch.from_numpy"),
        ([1.0] * 900, "list"),
    ],
    ids=["numpy", "list"],
)
def test_keys_values_and_queries_that_are_no_tensors_are_refused_in_one_line(given: Any, came: str) -> None:
    memory = filled()
    for asked in (
        lambda: memory.add(given, KEYS),
        lambda: memory.add(KEYS, given),
        lambda: memory.search(given, 2),
        lambda: memory.search_exactly(given, 2),
    ):
        with pytest.raises(ShapeError, match=came) as refused:
            asked()
        assert len(str(refused.value).splitlines()) == 1
    assert memory.lengths.tolist() == [3]


@pytest.mark.parametrize("rows", [np.ones(1, bool), [True], True], ids=["numpy", "list", "bool"])
def test_a_reset_by_what_is_no_tensor_says_what_came(rows: Any) -> None:
    memory = filled()
    with pytest.raises(ShapeError, match=r"rows should be a tensor, bool \(1,\), got (a numpy ndarray|a list|bool)"):
        memory.reset(rows)
    assert memory.lengths.tolist() == [3]


@pytest.mark.parametrize("k", [2.5, "3", None, 0], ids=str)
def test_a_k_that_is_no_count_is_refused(k: Any) -> None:
    with pytest.raises(ShapeError, match="k should be at least 1, a whole number, got"):
        filled().search(KEYS, k)


def test_an_add_between_search_and_backward_says_which_order_is_right() -> None:
    memory, queries = filled(), torch.ones(1, 1, 1, 4, requires_grad=True)
    scores = memory.search(queries, 2).dot(queries)
    memory.add(KEYS, KEYS)
    with pytest.raises(StaleResultError, match="search, backward, add"):
        scores.sum().backward()


def test_queries_and_keys_of_two_dtypes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"one dtype, got torch.float32 and torch.bfloat16"):
        local_attention(KEYS, KEYS.bfloat16(), KEYS)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("keys", [1.0]),
        ("written", None),
        ("written", torch.tensor([True])),
        ("shape", torch.tensor(3)),
        ("shape", torch.ones(5)),
        ("format", "1"),
        ("format", torch.tensor([1, 1])),
    ],
    ids=str,
)
def test_a_state_of_odd_parts_is_refused(name: str, part: Any) -> None:
    memory = filled()
    state: dict[str, Any] = memory.state_dict() | {name: part}
    with pytest.raises(StateError, match=name):
        memory.load_state_dict(state)
    with pytest.raises(StateError, match="a memory state is a mapping"):
        memory.load_state_dict(list(state))  # type: ignore[arg-type]
    assert memory.lengths.tolist() == [3]


def test_rows_that_are_no_tensor_are_not_selected() -> None:
    with pytest.raises(ShapeError, match="rows should be row numbers, int64, got list"):
        select_rows(filled().state_dict(), [0])  # type: ignore[arg-type]
