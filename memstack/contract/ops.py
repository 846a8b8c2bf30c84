"""search(): a memory's search as operators that torch.compile keeps in its graph, whatever the memory.

An operator takes and returns tensors, so a memory travels as its number, and so does an answer: what it would read its
entries from is kept here until nothing holds its number any more. Compiled code knows a memory by its class and never
by its number or contents, so that neither another memory nor another step compiles anything again.
"""

import weakref
from contextlib import AbstractContextManager
from itertools import count
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import create_selective_checkpoint_contexts

from memstack.contract.entries import Entries
from memstack.contract.memory import MEMORIES, Memory
from memstack.contract.precision import at_least_float32
from memstack.contract.result import SearchResult

_ANSWERS: dict[int, Entries] = {}
_NUMBERS = count()


def search(memory: Memory, queries: Float[Tensor, "rows query_heads q key_dim"], k: int) -> SearchResult:
    """Answer as ``memory.search(queries, k)``, also inside a compiled graph; what a model should call.

    ``dot`` with these very queries reads the scores again instead of multiplying. With
    ``save_searches`` activation checkpointing does not search again.
    """
    scores, positions, number = _search(memory.number, queries.detach(), k)
    return SearchResult(scores, positions, _Numbered(number, scores, queries, memory.shape.value_dim))


def _writes(tensor: Tensor) -> int:
    """How often a tensor was written to; compiled code, which writes to no input of ours, has no such count."""
    return 0 if torch.compiler.is_compiling() or tensor.is_inference() else tensor._version


def save_searches() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """A ``context_fn`` for torch.utils.checkpoint: recompute all but the searches, which cost most and keep least."""
    return create_selective_checkpoint_contexts([torch.ops.memstack.search.default])


class _Numbered(Entries):
    """The entries of an answer that is known by its number."""

    def __init__(self, number: Tensor, scores: Tensor, queries: Tensor, value_dim: int) -> None:
        self._number, self._scores, self._queries, self._value_dim = number, scores, queries, value_dim
        self._asked = _writes(queries)

    def keys(self) -> Tensor:
        return _entries(self._number).keys()

    def values(self) -> Tensor:
        return _entries(self._number).values()

    def dot(self, queries: Tensor) -> Tensor:
        unchanged = queries is self._queries and _writes(queries) == self._asked
        if unchanged and at_least_float32(queries) == self._scores.dtype:
            return _scored(self._number, queries, self._scores)
        return _dot(self._number, queries, self._scores.shape[-1], True)

    def mix(self, weights: Tensor) -> Tensor:
        return _mix(self._number, weights, self._value_dim, False)

    def check_fresh(self) -> None:
        _entries(self._number).check_fresh()


# The operators ------------------------------------------------------------------------------------------------------


@torch.library.custom_op("memstack::search", mutates_args=())
def _search(memory: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    found = MEMORIES[int(memory)].search(queries, k)
    # Copies: compiled code may write into what an operator returned, and a memory may have kept its answer.
    return _own(found.scores), _own(found.positions), _keep(found.entries)


@torch.library.custom_op("memstack::scored", mutates_args=())
def _scored(answer: Tensor, queries: Tensor, scores: Tensor) -> Tensor:
    """The inner products of the queries that were searched for: the scores."""
    _entries(answer).check_fresh()
    return _own(scores)


@torch.library.custom_op("memstack::dot", mutates_args=())
def _dot(answer: Tensor, queries: Tensor, k: int, keys: bool) -> Tensor:
    """Inner products with the found keys, or values."""
    entries = _entries(answer)
    return _own(entries.dot(queries) if keys else entries.dot_values(queries))


@torch.library.custom_op("memstack::mix", mutates_args=())
def _mix(answer: Tensor, weights: Tensor, dim: int, keys: bool) -> Tensor:
    """Weighted sums of the found keys, or values."""
    entries = _entries(answer)
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


# Answers by number ---------------------------------------------------------------------------------------------------


def _keep(entries: Entries) -> Tensor:
    """Keep what an answer reads for as long as there is a tensor that holds its number."""
    number = next(_NUMBERS)
    _ANSWERS[number] = entries
    answer = torch.tensor(number, device="cpu")
    weakref.finalize(answer.untyped_storage(), _ANSWERS.pop, number)
    return answer


def _entries(answer: Tensor) -> Entries:
    return _ANSWERS[int(answer)]


def _own(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)
