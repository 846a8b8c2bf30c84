"""The two sums of ``embedding_bag.py`` as Triton kernels, for vectors of any dtype on a GPU: none is ever written down.

One program reads the vectors of one bag, some at a time, widens them to the operand's dtype and sums them there. A
negative index reads nothing and counts as a row of zeros. Importing this needs triton; CUDA builds of torch bring it.
"""

# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUntypedFunctionDecorator=false
# (Triton compiles the kernels' bodies; their parameters have the types that they are launched with.)

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from memstack.store.sizes import next_power_of_2

NUMBERS_AT_ONCE = 4096
"""Numbers of the vectors that a program holds in registers: 32 for each of its 128 threads."""


def inner_products(queries: Tensor, vectors: Tensor, index: Tensor) -> Tensor:
    """Multiply with vectors: (bags, dim) queries, (entries, dim) vectors, (bags, k) index -> (bags, k)."""
    (bags, k), dim = index.shape, vectors.shape[1]
    scores = queries.new_empty(bags, k)
    if scores.numel():
        block = _block(k, dim)
        with torch.cuda.device_of(vectors):
            _dot[(bags, -(-k // block["SOME"]))](
                queries.contiguous(), vectors, index.contiguous(), scores, k, dim, **block
            )
    return scores


def weighted_sum(weights: Tensor, vectors: Tensor, index: Tensor) -> Tensor:
    """Sum vectors: (bags, k) weights, (entries, dim) vectors, (bags, k) index -> (bags, dim)."""
    (bags, k), dim = index.shape, vectors.shape[1]
    mixed = weights.new_empty(bags, dim)
    if bags:
        with torch.cuda.device_of(vectors):
            _mix[(bags,)](weights.contiguous(), vectors, index.contiguous(), mixed, k, dim, **_block(k, dim))
    return mixed


def _block(k: int, dim: int) -> dict[str, Any]:
    """How many vectors are read at once, and as how many numbers each."""
    width = next_power_of_2(dim)
    return {"SOME": max(1, min(next_power_of_2(max(k, 1)), NUMBERS_AT_ONCE // width)), "WIDTH": width}


@triton.jit
def _rows(vectors, index, bag, first, k, dim, SOME: tl.constexpr, WIDTH: tl.constexpr):
    """Read SOME rows of a bag, from its column ``first`` on: (SOME, WIDTH), zeros beyond k and dim."""
    column = first + tl.arange(0, SOME)
    entry = tl.load(index + bag.to(tl.int64) * k + column, mask=column < k, other=-1)
    at = tl.arange(0, WIDTH)
    # Entries are int64: there may be more than 2^31 numbers.
    address = vectors + entry[:, None] * dim + at[None, :]
    return tl.load(address, mask=(entry >= 0)[:, None] & (at < dim)[None, :], other=0.0)


@triton.jit(do_not_specialize=["k"])
def _dot(queries, vectors, index, scores, k, dim, SOME: tl.constexpr, WIDTH: tl.constexpr):
    bag, first = tl.program_id(0), tl.program_id(1) * SOME
    at = tl.arange(0, WIDTH)
    query = tl.load(queries + bag.to(tl.int64) * dim + at, mask=at < dim, other=0.0)
    rows = _rows(vectors, index, bag, first, k, dim, SOME, WIDTH).to(query.dtype)
    column = first + tl.arange(0, SOME)
    tl.store(scores + bag.to(tl.int64) * k + column, tl.sum(rows * query[None, :], 1), mask=column < k)


@triton.jit(do_not_specialize=["k"])
def _mix(weights, vectors, index, mixed, k, dim, SOME: tl.constexpr, WIDTH: tl.constexpr):
    bag = tl.program_id(0)
    at = tl.arange(0, WIDTH)
    total = tl.zeros([WIDTH], mixed.dtype.element_ty)
    for first in range(0, k, SOME):
        column = first + tl.arange(0, SOME)
        weight = tl.load(weights + bag.to(tl.int64) * k + column, mask=column < k, other=0.0)
        rows = _rows(vectors, index, bag, first, k, dim, SOME, WIDTH).to(weight.dtype)
        total += tl.sum(rows * weight[:, None], 0)
    tl.store(mixed + bag.to(tl.int64) * dim + at, total, mask=at < dim)
