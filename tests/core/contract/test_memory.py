"""The contract's own types: shapes, results, and the entries that a remote store sends."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch

from memstack import MISSING_SCORE, FetchedEntries, Memory, MemoryShape, SearchResult, ShapeError, StaleResultError

SHAPE: dict[str, Any] = {"rows": 2, "heads": 3, "key_dim": 4, "value_dim": 5, "capacity": 6}


@pytest.mark.parametrize("axis", SHAPE)
@pytest.mark.parametrize("size", [0, -1, 1.5, "2", None, True])
def test_a_size_that_is_no_count_is_refused_by_name(axis: str, size: Any) -> None:
    with pytest.raises(ShapeError, match=f"{axis} should be a whole number of at least 1, got {size!r}"):
        MemoryShape(**SHAPE | {axis: size})


def test_a_shape_is_a_frozen_value() -> None:
    shape = MemoryShape(**SHAPE)
    assert shape == MemoryShape(**SHAPE)
    assert hash(shape) == hash(MemoryShape(**SHAPE))
    with pytest.raises(FrozenInstanceError):
        shape.rows = 5  # type: ignore[misc]


def test_a_shape_takes_names_only() -> None:
    with pytest.raises(TypeError):
        MemoryShape(2, 3, 4, 5, 6)  # type: ignore[misc]


def test_a_memory_that_lacks_a_method_cannot_be_made() -> None:
    class Partial(Memory):
        def add(self, keys: Any, values: Any, lengths: Any = None, *, padded: Any = "right") -> None:
            raise NotImplementedError

    with pytest.raises(TypeError, match="abstract"):
        Partial()  # type: ignore[abstract]


class Fetched:
    """An answer of two columns, the second missing, to one query."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.stale = False
        self.keys = torch.tensor([[1.0, 2.0], [0.0, 0.0]], dtype=dtype).view(1, 1, 1, 2, 2).requires_grad_()
        self.values = torch.tensor([[3.0], [0.0]], dtype=dtype).view(1, 1, 1, 2, 1).requires_grad_()
        scores = torch.tensor([5.0, -torch.inf]).view(1, 1, 1, 2)
        positions = torch.tensor([7, -1]).view(1, 1, 1, 2)
        self.result = SearchResult(scores, positions, FetchedEntries(self.keys, self.values, self.check_fresh))

    def check_fresh(self) -> None:
        if self.stale:
            raise StaleResultError("changed")


def test_the_mask_says_which_columns_were_found() -> None:
    assert Fetched().result.mask.flatten().tolist() == [True, False]


def test_a_missing_column_has_a_finite_dot() -> None:
    dot = Fetched().result.dot(torch.tensor([1.0, 2.0]).view(1, 1, 1, 2))
    assert dot.flatten().tolist() == [5.0, pytest.approx(MISSING_SCORE)]
    assert dot.softmax(-1).flatten().tolist() == [1.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fetched_entries_are_multiplied_in_float32(dtype: torch.dtype) -> None:
    result, queries = Fetched(dtype).result, torch.tensor([1.0, 2.0]).view(1, 1, 1, 2).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        dot, mixed = result.dot(queries), result.mix(torch.full((1, 1, 1, 2), 1 / 3))
    assert dot.dtype == mixed.dtype == torch.float32
    assert mixed.item() == pytest.approx(1.0, abs=1e-6)


def test_fetched_entries_get_no_gradient() -> None:
    fetched, queries = Fetched(), torch.ones(1, 1, 1, 2, requires_grad=True)
    fetched.result.mix(fetched.result.dot(queries).softmax(-1)).sum().backward()
    assert fetched.keys.grad is None
    assert fetched.values.grad is None
    assert queries.grad is not None


def test_fetched_entries_go_stale() -> None:
    fetched, queries = Fetched(), torch.ones(1, 1, 1, 2, requires_grad=True)
    dot = fetched.result.dot(queries)
    fetched.stale = True
    for read in (lambda: fetched.result.keys, lambda: fetched.result.values, lambda: fetched.result.dot(queries)):
        with pytest.raises(StaleResultError):
            read()
    with pytest.raises(StaleResultError):
        fetched.result.mix(torch.ones(1, 1, 1, 2))
    with pytest.raises(StaleResultError):
        dot.sum().backward()


def test_fetched_entries_refuse_another_shape() -> None:
    result = Fetched().result
    with pytest.raises(ShapeError, match="queries should have the shape of the search"):
        result.dot(torch.ones(1, 1, 2, 2))
    with pytest.raises(ShapeError, match="weights should have the shape of the search"):
        result.mix(torch.ones(1, 1, 1, 3))
