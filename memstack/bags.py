"""Weighted embedding bags over a table, and their gradients: the two sums behind ``SearchResult.mix`` and ``.dot``.

For a bag of k table rows, ``mixed = sum_k weights_k * table[index_k]`` and ``scores_k = queries . table[index_k]``.
Each is the gradient of the other, so two autograd functions that name each other as their backward do everything, to
any order. torch's embedding-bag kernels compute both without gathering the rows: on a CPU, for 8 rows x 4 heads x 256
queries x 32 neighbours of width 32, about twenty times faster than gather and multiply for the sum and twice for the
scores. On a GPU both are kernels of their own (``bag_kernels.py``) where triton is installed.
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

CHUNK_NUMBERS = 1 << 20  # how many gathered numbers may exist at once when table and operand differ in dtype


def weighted_sum(weights: Tensor, table: Tensor, index: Tensor, check_fresh: Callable[[], None]) -> Tensor:
    """Sum table rows: (bags, k) weights, (entries, dim) table, (bags, k) index -> (bags, dim).

    Differentiable in the weights. ``check_fresh`` is called before a backward pass reads the table again and raises if
    its rows have changed.
    """
    return _WeightedSum.apply(weights, table, index, check_fresh)  # type: ignore[no-any-return]


def inner_products(queries: Tensor, table: Tensor, index: Tensor, check_fresh: Callable[[], None]) -> Tensor:
    """Multiply with table rows: (bags, dim) queries, (entries, dim) table, (bags, k) index -> (bags, k)."""
    return _InnerProducts.apply(queries, table, index, check_fresh)  # type: ignore[no-any-return]


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weights, table, index, check_fresh):  # type: ignore[no-untyped-def]
        ctx.bag = (table, index, check_fresh)
        if kernels := _kernels(table):
            return kernels.weighted_sum(weights, table, index)
        if weights.dtype == table.dtype and index.numel():
            return embedding_bag(index, table, per_sample_weights=weights, mode="sum")
        with without_autocast(weights):
            parts = [torch.einsum("nk,nkd->nd", w, table[i].to(w)) for w, i in _chunks(weights, index, table)]
        return torch.cat(parts) if parts else weights.new_zeros(0, table.shape[1])

    @staticmethod
    def backward(ctx, *grads):  # type: ignore[no-untyped-def]
        table, index, check_fresh = ctx.bag
        check_fresh()
        return inner_products(grads[0].contiguous(), table, index, check_fresh), None, None, None


class _InnerProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, table, index, check_fresh):  # type: ignore[no-untyped-def]
        ctx.bag = (table, index, check_fresh)
        if kernels := _kernels(table):
            return kernels.inner_products(queries, table, index)
        if queries.dtype == table.dtype and index.numel():
            return _bag_gradient(queries, table, index)
        with without_autocast(queries):
            parts = [torch.einsum("nd,nkd->nk", q, table[i].to(q)) for q, i in _chunks(queries, index, table)]
        return torch.cat(parts) if parts else queries.new_zeros(index.shape)

    @staticmethod
    def backward(ctx, *grads):  # type: ignore[no-untyped-def]
        table, index, check_fresh = ctx.bag
        check_fresh()
        return weighted_sum(grads[0].contiguous(), table, index, check_fresh), None, None, None


def without_autocast(operand: Tensor) -> torch.autocast:
    """Turn autocast off on the operand's device: it would round scores and sums to half precision."""
    return torch.autocast(operand.device.type, enabled=False)


def _kernels(table: Tensor) -> ModuleType | None:
    if table.device.type != "cuda" or find_spec("triton") is None:
        return None
    from memstack import bag_kernels

    return bag_kernels


def _bag_gradient(queries: Tensor, table: Tensor, index: Tensor) -> Tensor:
    """The kernel behind embedding_bag's gradient in its weights, which is an inner product per table row."""
    bags, k = index.shape
    offsets = torch.arange(0, bags * k, k, device=index.device)
    bag_of = torch.arange(bags, device=index.device).repeat_interleave(k)
    kernel = torch.ops.aten._embedding_bag_per_sample_weights_backward
    return kernel(queries.contiguous(), table, index.flatten(), offsets, bag_of, 0, -1).view(bags, k)


def _chunks(operand: Tensor, index: Tensor, table: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    size = max(1, CHUNK_NUMBERS // max(1, index.shape[1] * table.shape[1]))
    return zip(operand.split(size), index.split(size), strict=True)
