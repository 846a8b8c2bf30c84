"""search(): a memory's search as operators that torch.compile keeps in its graph, whatever the memory.

An operator takes and returns tensors, so a memory travels as its handle, and so does an answer: what it would read its
entries from is kept until nothing holds that handle any more (``handles.py``). Neither another memory nor another step
compiles anything again.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import create_selective_checkpoint_contexts

from memstack.contract.entries import Entries
from memstack.contract.handles import Handled, keep, resolve
from memstack.contract.memory import Memory
from memstack.contract.precision import at_least_float32
from memstack.contract.result import SearchResult


def search(memory: Memory, queries: Float[Tensor, "rows query_heads q key_dim"], k: int) -> SearchResult:
    """Answer as ``memory.search(queries, k)``, also inside a compiled graph; what a model should call.

    ``dot`` with these very queries reads the scores again instead of multiplying. With
    ``save_searches`` activation checkpointing does not search again.
    """
    scores, positions, answer = _search(Handled.handle_of(memory), queries.detach(), k)
    return SearchResult(scores, positions, _Answer(answer, scores, queries, memory.shape.value_dim))


def _writes(tensor: Tensor) -> int:
    """How often a tensor was written to; compiled code, which writes to no input of ours, has no such count."""
    return 0 if torch.compiler.is_compiling() or tensor.is_inference() else tensor._version


def save_searches() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """A ``context_fn`` for torch.utils.checkpoint: recompute all but the searches, which cost most and keep least."""
    return create_selective_checkpoint_contexts([torch.ops.memstack.search.default])


class _Answer(Entries):
    """The entries of an answer that is known by its handle."""

    def __init__(self, handle: Tensor, scores: Tensor, queries: Tensor, value_dim: int) -> None:
        self._handle, self._scores, self._queries, self._value_dim = handle, scores, queries, value_dim
        self._writes_then = _writes(queries)

    def keys(self) -> Tensor:
        return resolve(self._handle).keys()

    def values(self) -> Tensor:
        return resolve(self._handle).values()

    def dot(self, queries: Tensor) -> Tensor:
        unchanged = queries is self._queries and _writes(queries) == self._writes_then
        if unchanged and at_least_float32(queries) == self._scores.dtype:
            return _scored(self._handle, queries, self._scores)
        return _dot(self._handle, queries, self._scores.shape[-1], True)

    def mix(self, weights: Tensor) -> Tensor:
        return _mix(self._handle, weights, self._value_dim, False)

    def check_fresh(self) -> None:
        resolve(self._handle).check_fresh()


# The operators ------------------------------------------------------------------------------------------------------


@torch.library.custom_op("memstack::search", mutates_args=())
def _search(memory: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    found = resolve(memory).search(queries, k)
    # Copies: compiled code may write into what an operator returned, and a memory may have kept its answer.
    return _own(found.scores), _own(found.positions), keep(found.entries)


@torch.library.custom_op("memstack::scored", mutates_args=())
def _scored(answer: Tensor, queries: Tensor, scores: Tensor) -> Tensor:
    """The inner products of the queries that were searched for: the scores."""
    resolve(answer).check_fresh()
    return _own(scores)


@torch.library.custom_op("memstack::dot", mutates_args=())
def _dot(answer: Tensor, queries: Tensor, k: int, keys: bool) -> Tensor:
    """Inner products with the found keys, or values."""
    entries = resolve(answer)
    return _own(entries.dot(queries) if keys else entries.dot_values(queries))


@torch.library.custom_op("memstack::mix", mutates_args=())
def _mix(answer: Tensor, weights: Tensor, dim: int, keys: bool) -> Tensor:
    """Weighted sums of the found keys, or values."""
    entries = resolve(answer)
    return _own(entries.mix_keys(weights) if keys else entries.mix(weights))


# What they return, and their gradients: dot and mix are each other's -------------------------------------------------


@_search.register_fake
def _(memory: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    size = (*queries.shape[:3], k)
    positions = queries.new_empty(size, dtype=torch.int64)
    return queries.new_empty(size, dtype=torch.float32), positions, memory.new_empty(())


@_scored.register_fake
def _(answer: Tensor, queries: Tensor, scores: Tensor) -> Tensor:
    return scores.new_empty(scores.shape)


@_dot.register_fake
def _(answer: Tensor, queries: Tensor, k: int, keys: bool) -> Tensor:
    return queries.new_empty((*queries.shape[:3], k), dtype=at_least_float32(queries))


@_mix.register_fake
def _(answer: Tensor, weights: Tensor, dim: int, keys: bool) -> Tensor:
    return weights.new_empty((*weights.shape[:3], dim), dtype=at_least_float32(weights))


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    answer, operand, *_, ctx.keys = inputs
    ctx.save_for_backward(answer)
    ctx.kept = answer  # what is saved may be a copy, which keeps no answer
    ctx.width, ctx.dtype = operand.shape[-1], operand.dtype


def _scored_backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
    return None, _mix(*ctx.saved_tensors, grad, ctx.width, True).to(ctx.dtype), None


def _dot_backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None]:
    return None, _mix(*ctx.saved_tensors, grad, ctx.width, ctx.keys).to(ctx.dtype), None, None


def _mix_backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None]:
    return None, _dot(*ctx.saved_tensors, grad, ctx.width, ctx.keys).to(ctx.dtype), None, None


_scored.register_autograd(_scored_backward, setup_context=_remember)
_dot.register_autograd(_dot_backward, setup_context=_remember)
_mix.register_autograd(_mix_backward, setup_context=_remember)


def _own(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)
