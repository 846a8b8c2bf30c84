"""Weighted embedding bags over stored vectors, and their gradients: the sums behind ``SearchResult.mix`` and ``.dot``.

For a bag of k vectors, ``mixed = sum_k weights_k * vectors[index_k]`` and ``scores_k = queries . vectors[index_k]``.
Each is the gradient of the other, so two autograd functions that name each other as their backward do everything, to
any order. torch's embedding-bag kernels compute both without gathering the vectors: on a CPU, for 8 rows x 4 heads x
256 queries x 32 neighbours of width 32, about twenty times faster than gather and multiply for the sum. For the scores
its kernel is slow there: to gather what fits into the cache and multiply in place takes half its time (at width 128,
0.9). On a GPU both are kernels of their own (``embedding_bag_triton.py``) where triton is installed.
"""

from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from warnings import warn

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from memstack.contract.precision import without_autocast
from memstack.store.int8 import Vectors

CHUNK_NUMBERS = 1 << 18  # how many numbers are gathered at once, where they are: about what a core's cache holds


def weighted_sum(weights: Tensor, vectors: Vectors, index: Tensor, check_fresh: Callable[[], None]) -> Tensor:
    """Sum vectors: (bags, k) weights, (entries, dim) vectors, (bags, k) index -> (bags, dim).

    Differentiable in the weights. ``check_fresh`` is called before a backward pass reads the vectors again and raises
    if they have changed.
    """
    return _WeightedSum.apply(weights, vectors, index, check_fresh)  # type: ignore[no-any-return]


def inner_products(queries: Tensor, vectors: Vectors, index: Tensor, check_fresh: Callable[[], None]) -> Tensor:
    """Multiply with vectors: (bags, dim) queries, (entries, dim) vectors, (bags, k) index -> (bags, k)."""
    return _InnerProducts.apply(queries, vectors, index, check_fresh)  # type: ignore[no-any-return]


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weights, vectors, index, check_fresh):  # type: ignore[no-untyped-def]
        ctx.bag = (vectors, index, check_fresh)
        if kernels := _kernels(vectors):
            return kernels.weighted_sum(weights, vectors, index)
        if weights.dtype == vectors.dtype and index.numel():
            return embedding_bag(index, vectors, per_sample_weights=weights, mode="sum")
        with without_autocast(weights):
            parts = [torch.einsum("nk,nkd->nd", w, _rows(vectors, i, w)) for w, i in _chunks(weights, index, vectors)]
        return torch.cat(parts) if parts else weights.new_zeros(0, vectors.shape[1])

    @staticmethod
    def backward(ctx, *grads):  # type: ignore[no-untyped-def]
        vectors, index, check_fresh = ctx.bag
        check_fresh()
        products = inner_products(grads[0].contiguous(), vectors, index, check_fresh)
        check_fresh()  # another thread may have begun to write meanwhile
        return products, None, None, None


class _InnerProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, vectors, index, check_fresh):  # type: ignore[no-untyped-def]
        ctx.bag = (vectors, index, check_fresh)
        if kernels := _kernels(vectors):
            return kernels.inner_products(queries, vectors, index)
        if queries.dtype == vectors.dtype and queries.device.type != "cpu" and index.numel():
            return _bag_gradient(queries, vectors, index)
        with without_autocast(queries):
            parts = [_rows(vectors, i, q).mul_(q[:, None]).sum(-1) for q, i in _chunks(queries, index, vectors)]
        return torch.cat(parts) if parts else queries.new_zeros(index.shape)

    @staticmethod
    def backward(ctx, *grads):  # type: ignore[no-untyped-def]
        vectors, index, check_fresh = ctx.bag
        check_fresh()
        sums = weighted_sum(grads[0].contiguous(), vectors, index, check_fresh)
        check_fresh()
        return sums, None, None, None


def _kernels(vectors: Vectors) -> ModuleType | None:
    on_gpu = isinstance(vectors, Tensor) and vectors.device.type == "cuda"
    return trusted_kernels(vectors.device) if on_gpu else None


@cache
def trusted_kernels(device: torch.device) -> ModuleType | None:
    """Triton's kernels if, on a small example, they give on this device what torch gives; None, with a warning, if not.

    They have been right on an H100, and no test can run them on the GPU at hand.
    """
    if find_spec("triton") is None:
        return None
    from memstack.store import embedding_bag_triton

    vectors = torch.linspace(-1, 1, 96, device=device, dtype=torch.float32).view(4, 24)
    operand, index = vectors[:3] + 1, torch.tensor([[0, 3], [2, 1], [1, 1]], device=device, dtype=torch.int64)
    try:
        sums = embedding_bag_triton.weighted_sum(operand[:, :2].contiguous(), vectors, index)
        products = embedding_bag_triton.inner_products(operand, vectors, index)
        torch.testing.assert_close(sums, torch.einsum("nk,nkd->nd", operand[:, :2], vectors[index]))
        torch.testing.assert_close(products, torch.einsum("nd,nkd->nk", operand, vectors[index]))
    except Exception as error:  # noqa: BLE001 - whatever a compiler or a driver raises, torch's own kernels remain
        reason = (str(error).splitlines() or [""])[0]
        warn(f"Triton's kernels fail on {device}, torch's are used: {type(error).__name__}: {reason}", stacklevel=2)
        return None
    return embedding_bag_triton


def _bag_gradient(queries: Tensor, vectors: Tensor, index: Tensor) -> Tensor:
    """The kernel behind embedding_bag's gradient in its weights, which is an inner product per vector."""
    bags, k = index.shape
    offsets = torch.arange(0, bags * k, k, device=index.device, dtype=torch.int64)
    bag_of = torch.arange(bags, device=index.device, dtype=torch.int64).repeat_interleave(k)
    kernel = torch.ops.aten._embedding_bag_per_sample_weights_backward
    return kernel(queries.contiguous(), vectors, index.flatten(), offsets, bag_of, 0, -1).view(bags, k)


def _rows(vectors: Vectors, index: Tensor, operand: Tensor) -> Tensor:
    """The vectors that (n, k) index names, (n, k, dim), as the operand's dtype."""
    return vectors.index_select(0, index.flatten()).to(operand).view(*index.shape, vectors.shape[1])


def _chunks(operand: Tensor, index: Tensor, vectors: Vectors) -> Iterator[tuple[Tensor, Tensor]]:
    size = max(1, CHUNK_NUMBERS // max(1, index.shape[1] * vectors.shape[1]))
    return zip(operand.split(size), index.split(size), strict=True)
