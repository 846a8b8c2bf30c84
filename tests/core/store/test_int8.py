"""Vectors in eight bits: how far off they are, what reading and writing them again does, and what an index gives."""

import pytest
import torch
from torch import Tensor

from memstack.store.embedding_bag import inner_products, weighted_sum
from memstack.store.int8 import Quantised
from memstack.testing.oracle import in_eight_bits


def vectors(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(sum(size)))


# Some of every magnitude, vectors of a single number, of equal numbers, and of zeros.
MANY = torch.cat(
    [
        vectors(2000, 16) * torch.logspace(-30, 30, 2000)[:, None],
        torch.eye(16) * -3.0,
        torch.full((1, 16), 0.1),
        torch.zeros(2, 16),
    ]
)


def test_a_number_is_off_by_half_a_step_at_most() -> None:
    step = MANY.abs().amax(-1, keepdim=True) / 127 * (1 + 2**-8)
    assert bool(((Quantised.of(MANY).to(torch.float64) - MANY.double()).abs() <= step / 2).all())


def test_what_was_read_is_written_as_it_was() -> None:
    once = Quantised.of(MANY)
    again = Quantised.of(once.to(torch.float32))
    assert torch.equal(again.codes, once.codes)
    assert torch.equal(again.scale, once.scale)


def test_the_kit_rounds_alike() -> None:
    some = MANY[::7]
    expected = torch.tensor([in_eight_bits(vector) for vector in some.tolist()])
    torch.testing.assert_close(Quantised.of(some).to(torch.float32), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("largest", [0.0, 1e-45, 1e-40, 1e-37])
def test_the_smallest_numbers_read_as_zeros(largest: float) -> None:
    vector = torch.tensor([0.0, largest, -largest])
    assert Quantised.of(vector).to(torch.float32).tolist() == [0, 0, 0]


def test_what_is_not_finite_costs_the_rest_of_its_vector() -> None:
    inf, nan = torch.inf, torch.nan
    given = torch.tensor([[inf, -inf, inf], [nan, nan, nan], [1.0, -inf, nan], [1.0, 2.0, 4.0]])
    expected = torch.tensor([[inf, -inf, inf], [nan, nan, nan], [nan, -inf, nan]])
    once = Quantised.of(given).to(torch.float32)
    torch.testing.assert_close(once[:3], expected, equal_nan=True)
    assert bool(once[3].isfinite().all())
    torch.testing.assert_close(Quantised.of(once).to(torch.float32)[:3], expected, equal_nan=True)


def test_an_index_gives_what_it_gives_of_a_tensor() -> None:
    given = vectors(6, 5, 4)
    quantised = Quantised.of(given)
    whole = quantised.to(torch.float32)
    for index in (2, slice(1, 4), (slice(None), 3), torch.tensor([[0, 5], [2, 2]]), (torch.tensor([1, 0]), slice(2))):
        assert torch.equal(quantised[index].to(torch.float32), whole[index])
    assert torch.equal(quantised.flatten(0, 1).to(torch.float32), whole.flatten(0, 1))
    assert torch.equal(quantised.unflatten(0, (2, 3)).to(torch.float32), whole.unflatten(0, (2, 3)))
    assert quantised.shape == whole.shape
    assert quantised.device == whole.device


def test_a_view_writes_through() -> None:
    quantised = Quantised.of(torch.zeros(6, 4))
    new = vectors(2, 2, 4)
    quantised.unflatten(0, (2, 3))[torch.tensor([[0], [1]]), torch.tensor([[1, 2], [0, 2]])] = new
    written = Quantised.of(new).to(torch.float32)
    assert torch.equal(quantised.to(torch.float32)[[1, 2, 3, 5]], written.flatten(0, 1))
    assert not quantised.to(torch.float32)[[0, 4]].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bags_and_their_gradients(dtype: torch.dtype) -> None:
    table = Quantised.of(vectors(11, 4))
    whole, index = table.to(dtype), torch.randint(11, (7, 5), generator=torch.Generator().manual_seed(0))
    for function, width in ((weighted_sum, 5), (inner_products, 4)):
        operand = vectors(7, width).to(dtype).requires_grad_()
        both = [function(operand, each, index, lambda: None) for each in (table, whole)]
        torch.testing.assert_close(*both)
        upstream = vectors(*both[0].shape).to(dtype)
        torch.testing.assert_close(*(torch.autograd.grad(each, operand, upstream)[0] for each in both))
