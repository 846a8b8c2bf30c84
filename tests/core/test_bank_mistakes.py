"""What a bank and attend() refuse, and what becomes of the other layers when one fails."""

from typing import Any, cast

import pytest
import torch
from memstack_exact.search import ExactMemory
from torch import Tensor

from memstack import CommitError, LayerError, MemoryBank, MemoryShape, ShapeError, attend


@pytest.mark.parametrize(
    "new",
    [(torch.ones(2, 2, 3, 4), torch.ones(2, 2, 3, 4)), {1: (torch.ones(2, 2, 3, 4),) * 3}, {1: ()}],
    ids=["a pair", "three tensors", "nothing"],
)
def test_a_commit_of_another_form_is_refused(new: Any) -> None:
    shape = MemoryShape(rows=2, heads=2, key_dim=4, value_dim=4, capacity=8)
    bank = MemoryBank.create("exact", shape, layers=[1])
    with pytest.raises(LayerError, match=r"a commit is \{layer: \(keys, values\)\}.*nothing was written"):
        bank.commit(new)
    assert bank[1].lengths.tolist() == [0, 0]


@pytest.mark.parametrize("rows", [[True, False], True, "all"], ids=str)
def test_what_is_no_tensor_is_refused(rows: Any) -> None:
    shape = MemoryShape(rows=2, heads=2, key_dim=4, value_dim=4, capacity=8)
    bank = MemoryBank.create("exact", shape, layers=[1])
    with pytest.raises(ShapeError, match=r"rows should be a tensor, bool \(2,\), got"):
        bank.reset(rows)
    with pytest.raises(ShapeError, match="rows should be a tensor of row numbers"):
        bank.select(rows)
    keys = torch.ones(2, 2, 3, 4)
    with pytest.raises(ShapeError, match=r"lengths should be a tensor, int64 \(2,\), got"):
        bank.commit({1: (keys, keys)}, rows)
    with pytest.raises(ShapeError, match="neighbours should be at least 1"):
        attend(bank[1], keys, keys, keys[..., 0], 0)
    with pytest.raises(ShapeError, match="memory should be one layer's Memory, such as bank\\[1\\], got a MemoryBank"):
        attend(cast(Any, bank), keys, keys, keys[..., 0])


class FailsOnce(ExactMemory):
    """Fails at its first reset and its first selection, as after a write in the background that failed."""

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__(shape)
        self.left = {"reset", "select"}

    def _fail(self, verb: str) -> None:
        if verb in self.left:
            self.left.remove(verb)
            raise RuntimeError("the disk is full")

    def reset(self, rows: Tensor | None = None) -> None:
        self._fail("reset")
        super().reset(rows)

    def select(self, rows: Tensor) -> None:
        self._fail("select")
        super().select(rows)


def test_a_layer_that_fails_keeps_no_other_from_its_turn() -> None:
    shape = MemoryShape(rows=2, heads=1, key_dim=4, value_dim=4, capacity=8)
    bank = MemoryBank({1: FailsOnce(shape), 3: ExactMemory(shape)})
    new = torch.randn(2, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    bank.commit({1: (new, new), 3: (new, new)})
    with pytest.raises(CommitError, match=r"select layers \[1\], layers \[3\] are selected .*the disk is full"):
        bank.select(torch.tensor([1, 1]))
    assert torch.equal(bank[3].state_dict()["keys"][0], new[1])
    with pytest.raises(CommitError, match=r"could not reset layers \[1\], layers \[3\] are reset"):
        bank.reset()
    assert [memory.lengths.tolist() for memory in bank.values()] == [[3, 3], [0, 0]]
    bank.reset()
    assert [memory.lengths.tolist() for memory in bank.values()] == [[0, 0]] * 2
