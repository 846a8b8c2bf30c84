"""A saved state's rows: only numbers of rows choose them, and only of a state that is known."""

import pytest
import torch
from torch import Tensor

from memstack import MemoryShape, ShapeError, StateError, new_state, select_rows

SHAPE = MemoryShape(rows=2, heads=1, key_dim=2, value_dim=3, capacity=4)
STATE = new_state(SHAPE, torch.ones(2, 1, 4, 2), torch.ones(2, 1, 4, 3), torch.tensor([6, 1]))


@pytest.mark.parametrize("rows", [torch.tensor([True, False]), torch.tensor([0.0, 1.0]), torch.tensor([2])], ids=str)
def test_what_is_no_row_number_chooses_none(rows: Tensor) -> None:
    with pytest.raises(ShapeError, match="rows should be"):
        select_rows(STATE, rows)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({name: part for name, part in STATE.items() if name != "shape"}, "shape missing"),
        (STATE | {"format": torch.tensor(2)}, "of format 2"),
        (STATE | {"keys": torch.ones(2, 1, 3, 2)}, "keys should be"),
        (STATE | {"values": torch.ones(2, 1, 4, 3, dtype=torch.int64)}, "values should be floating point"),
    ],
)
def test_rows_of_a_state_that_is_not_known_are_not_selected(state: dict[str, Tensor], message: str) -> None:
    with pytest.raises(StateError, match=message):
        select_rows(state, torch.tensor([0]))


def test_a_short_row_is_as_long_as_it_is() -> None:
    chosen = select_rows(STATE, torch.tensor([1, 1, 1]))
    assert chosen["keys"].shape == (3, 1, 1, 2)
    assert chosen["written"].tolist() == [1, 1, 1]
