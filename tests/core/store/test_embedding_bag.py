"""The two sums behind mix and dot, in torch's and in Triton's kernels, against einsum over gathered rows."""

from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from memstack import StaleResultError
from memstack.store import embedding_bag
from memstack.store.embedding_bag import inner_products, weighted_sum

# (vectors, operand): where they agree torch's embedding-bag kernels run, where they differ the chunked sum does.
DTYPES = [
    (torch.float32, torch.float32),
    (torch.float64, torch.float64),
    (torch.float32, torch.float64),
    (torch.bfloat16, torch.float32),
    (torch.float16, torch.float32),
]
BAGS, K, ENTRIES, DIM = 7, 5, 11, 4


def fresh() -> None:
    """The vectors has not changed."""


def stale() -> None:
    raise StaleResultError("the vectors has changed")


def numbers(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(len(size) + sum(size))).to(dtype)


@pytest.fixture(params=["torch", "triton"], autouse=True)
def _kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every promise with those of torch, and with those that a vectors on a GPU gets, in Triton's interpreter."""
    if request.param == "torch":
        return
    if find_spec("triton") is None:
        pytest.skip("triton is not installed")

    from memstack.store import embedding_bag_triton

    monkeypatch.setattr(embedding_bag, "_kernels", lambda vectors: embedding_bag_triton)


@pytest.fixture
def index() -> Tensor:
    return torch.randint(ENTRIES, (BAGS, K), generator=torch.Generator().manual_seed(0))


def sum_reference(weights: Tensor, vectors: Tensor, index: Tensor) -> Tensor:
    return torch.einsum("nk,nkd->nd", weights, vectors[index].to(weights))


def product_reference(queries: Tensor, vectors: Tensor, index: Tensor) -> Tensor:
    return torch.einsum("nd,nkd->nk", queries, vectors[index].to(queries))


@pytest.mark.parametrize(("stored", "given"), DTYPES, ids=str)
def test_weighted_sum_and_its_gradient(stored: torch.dtype, given: torch.dtype, index: Tensor) -> None:
    compare(weighted_sum, sum_reference, numbers(BAGS, K, dtype=given), numbers(ENTRIES, DIM, dtype=stored), index)


@pytest.mark.parametrize(("stored", "given"), DTYPES, ids=str)
def test_inner_products_and_their_gradient(stored: torch.dtype, given: torch.dtype, index: Tensor) -> None:
    vectors = numbers(ENTRIES, DIM, dtype=stored)
    compare(inner_products, product_reference, numbers(BAGS, DIM, dtype=given), vectors, index)


def compare(
    function: Callable[..., Tensor],
    reference: Callable[..., Tensor],
    operand: Tensor,
    vectors: Tensor,
    index: Tensor,
) -> None:
    operand.requires_grad_()
    result, expected = function(operand, vectors, index, fresh), reference(operand, vectors, index)
    torch.testing.assert_close(result, expected)
    upstream = numbers(*expected.shape, dtype=expected.dtype)
    grads = [torch.autograd.grad(each, operand, upstream)[0] for each in (result, expected)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("stored", [torch.float64, torch.float32])
@pytest.mark.parametrize(("function", "width"), [(weighted_sum, K), (inner_products, DIM)])
def test_gradients_to_second_order(
    function: Callable[..., Tensor], width: int, stored: torch.dtype, index: Tensor
) -> None:
    vectors = numbers(ENTRIES, DIM, dtype=stored)
    operand, few = numbers(2, width, dtype=torch.float64).requires_grad_(), index[:2]
    assert torch.autograd.gradcheck(lambda given: function(given, vectors, few, fresh), (operand,))
    assert torch.autograd.gradgradcheck(lambda given: function(given, vectors, few, fresh), (operand,))


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("k", "dim"), [(1, 1), (40, 130), (33, 24)])
def test_other_sizes(k: int, dim: int, stored: torch.dtype) -> None:
    """Such as take several blocks, none of them whole."""
    vectors, index = numbers(ENTRIES, dim, dtype=stored), torch.arange(2 * k).view(2, k) % ENTRIES
    compare(weighted_sum, sum_reference, numbers(2, k), vectors, index)
    compare(inner_products, product_reference, numbers(2, dim), vectors, index)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_the_table_gets_no_gradient(stored: torch.dtype, index: Tensor) -> None:
    vectors = numbers(ENTRIES, DIM, dtype=stored).requires_grad_()
    weighted_sum(numbers(BAGS, K).requires_grad_(), vectors, index, fresh).sum().backward()
    inner_products(numbers(BAGS, DIM).requires_grad_(), vectors, index, fresh).sum().backward()
    assert vectors.grad is None


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_no_bags(stored: torch.dtype) -> None:
    vectors, index = numbers(ENTRIES, DIM, dtype=stored), torch.empty(0, K, dtype=torch.int64)
    assert weighted_sum(torch.empty(0, K), vectors, index, fresh).shape == (0, DIM)
    assert inner_products(torch.empty(0, DIM), vectors, index, fresh).shape == (0, K)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_bags_of_no_columns(stored: torch.dtype) -> None:
    vectors, index = numbers(ENTRIES, DIM, dtype=stored), torch.empty(BAGS, 0, dtype=torch.int64)
    assert not weighted_sum(torch.empty(BAGS, 0), vectors, index, fresh).any()
    assert inner_products(numbers(BAGS, DIM), vectors, index, fresh).shape == (BAGS, 0)


def test_chunks_change_nothing(index: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, weights, queries = numbers(ENTRIES, DIM, dtype=torch.bfloat16), numbers(BAGS, K), numbers(BAGS, DIM)
    whole = weighted_sum(weights, vectors, index, fresh), inner_products(queries, vectors, index, fresh)
    monkeypatch.setattr(embedding_bag, "CHUNK_NUMBERS", 2 * K * DIM)
    torch.testing.assert_close(weighted_sum(weights, vectors, index, fresh), whole[0])
    torch.testing.assert_close(inner_products(queries, vectors, index, fresh), whole[1])


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_autocast_rounds_nothing(stored: torch.dtype, index: Tensor) -> None:
    vectors, weights, queries = numbers(ENTRIES, DIM, dtype=stored), numbers(BAGS, K), numbers(BAGS, DIM)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, scores = weighted_sum(weights, vectors, index, fresh), inner_products(queries, vectors, index, fresh)
    torch.testing.assert_close(mixed, sum_reference(weights, vectors, index))
    torch.testing.assert_close(scores, product_reference(queries, vectors, index))


def test_a_stale_table_stops_the_backward_pass(index: Tensor) -> None:
    vectors = numbers(ENTRIES, DIM)
    mixed = weighted_sum(numbers(BAGS, K).requires_grad_(), vectors, index, stale)
    scores = inner_products(numbers(BAGS, DIM).requires_grad_(), vectors, index, stale)
    for result in (mixed, scores):
        with pytest.raises(StaleResultError):
            result.sum().backward()


def test_kernels_are_trusted_where_they_give_what_torch_gives() -> None:
    kernels = pytest.importorskip("memstack.store.embedding_bag_triton", reason="triton is not installed")
    assert embedding_bag.trusted_kernels.__wrapped__(torch.device("cpu")) is kernels


@pytest.mark.parametrize(
    ("broken", "reason"),
    [(lambda *_: 1 / 0, "ZeroDivisionError"), (lambda weights, vectors, index: vectors[:3] * 2, "AssertionError")],
)
def test_kernels_that_fail_on_a_device_are_left_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, broken: Callable[..., Tensor], reason: str
) -> None:
    kernels = pytest.importorskip("memstack.store.embedding_bag_triton", reason="triton is not installed")
    monkeypatch.setattr(kernels, "weighted_sum", broken)
    with pytest.warns(UserWarning, match=reason):
        assert embedding_bag.trusted_kernels.__wrapped__(torch.device("cpu")) is None
