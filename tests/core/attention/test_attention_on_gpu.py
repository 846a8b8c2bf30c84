"""Attention on a GPU that is at hand: kernels and plain math, local and retrieved, against float64 on the CPU."""

from collections.abc import Callable

import pytest
import torch
from helpers.card import on_card
from torch import Tensor

from memstack import MemoryShape, attend, create_memory, local_attention
from memstack.attention import kernels

pytestmark = on_card
SIZES = [(5, 5, 4, 4, 6), (700, 700, 4, 2, 64), (512, 1024, 8, 4, 40), (1, 300, 4, 4, 32), (33, 700, 4, 4, 256)]
HALF = (torch.bfloat16, torch.float16)


def numbers(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(sum(size)), dtype=torch.float64)


def compare(call: Callable[..., tuple[Tensor, ...]], dtype: torch.dtype, *inputs: Tensor) -> None:
    """Outputs and the gradients of all inputs, on the card in ``dtype`` and on the CPU in float64."""
    rounded = [each.to(dtype) for each in inputs]
    results = []
    for made in ([each.cuda() for each in rounded], [each.double() for each in rounded]):
        given = [each.requires_grad_() for each in made]
        outputs = [each.double() for each in call(*given)]
        bent = sum((each.sin().sum() for each in outputs), start=outputs[0].new_zeros(()))
        results.append([each.detach().cpu().double() for each in (*outputs, *torch.autograd.grad(bent, given))])
    for found, wanted in zip(*results, strict=True):
        assert (found - wanted).norm() <= (0.02 if dtype in HALF else 1e-5) * wanted.norm()


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("q", "n", "heads", "shared", "dim"), SIZES)
def test_local_attention_is_that_of_the_cpu(
    q: int, n: int, heads: int, shared: int, dim: int, causal: bool, dtype: torch.dtype
) -> None:
    inputs = numbers(2, heads, q, dim), numbers(2, shared, n, dim), numbers(2, shared, n, dim + 1)[..., :dim]
    compare(lambda *given: local_attention(*given, causal=causal), dtype, *inputs)


@pytest.mark.parametrize("dtype", HALF)
def test_torchs_kernel_proves_right(dtype: torch.dtype) -> None:
    assert kernels.proved(torch.device("cuda"), dtype)


@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_what_is_retrieved_is_that_of_the_cpu(stored: str) -> None:
    """With an age in the score, which chooses among candidates, and a store in half precision."""
    shape = MemoryShape(rows=2, heads=2, key_dim=16, value_dim=16, capacity=500)
    written = [
        each.to(getattr(torch, stored)).float() for each in (numbers(2, 2, 600, 16), numbers(2, 2, 600, 17)[..., 1:])
    ]

    def call(queries: Tensor, local: Tensor, lse: Tensor) -> tuple[Tensor, ...]:
        options = {"device": queries.device.type, "dtype": stored}
        memory = create_memory("exact", shape, **options)
        memory.add(*(each.to(queries.device) for each in written))
        return tuple(attend(memory, queries, local, lse, 8, age=0.3, candidates=16))

    compare(call, torch.float32, numbers(2, 4, 40, 16), numbers(2, 4, 40, 16) + 1, numbers(2, 4, 40))
