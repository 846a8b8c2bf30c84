"""Promises about some columns of an answer, taken in an order of the caller's own."""

import itertools
from functools import partial

import torch
from torch import Tensor

from memstack.contract.result import SearchResult
from memstack.testing.assertions import ensure_close, ensure_identical
from memstack.testing.gradients import (
    CHANGES,
    ensure_gradient_of_dot,
    ensure_gradient_of_mix,
    ensure_stale,
    ensure_stale_backward,
)
from memstack.testing.harness import CHUNK, Harness, Trial

K, TAKEN = 6, 4


class TakeContract(Harness):
    """What ``take`` leaves of an answer."""

    def test_take_gives_these_columns(self) -> None:
        """take(columns) is the same answer with these columns only, in this order."""
        trial = self._filled()
        for found, some, columns in _taken(trial, trial.data.queries(3, group=2)):
            _ensure_columns("taken", some, found, columns)
            again = columns.new_tensor([2, 0]).expand(*columns.shape[:3], -1)
            _ensure_columns("taken of what was taken", some.take(again), some, again)

    def test_dot_and_mix_of_taken_columns(self) -> None:
        """dot and mix of a taken answer are those of its columns, and so are their gradients."""
        trial = self._filled()
        asked, other = (trial.data.queries(3, group=2).requires_grad_() for _ in range(2))
        for found, some, columns in _taken(trial, asked):
            for queries in (asked, other):
                ensure_close("dot of taken columns", some.dot(queries), found.dot(queries).gather(-1, columns))
                ensure_gradient_of_dot(some, queries)
            weights = trial.data.numbers(*columns.shape)
            spread = torch.zeros(found.scores.shape, dtype=torch.float32, device="cpu").scatter(-1, columns, weights)
            ensure_close("mix of taken columns", some.mix(weights), found.mix(spread))
            ensure_gradient_of_mix(some)

    def test_a_taken_answer_goes_stale(self) -> None:
        """A taken answer goes stale with the one that it was taken from, in a backward pass too."""
        for (name, change), door in itertools.product(CHANGES.items(), range(2)):
            trial = self._filled()
            queries = trial.data.queries(2).requires_grad_()
            _, some, _ = _taken(trial, queries)[door]
            ensure_stale_backward(f"after {name}, taken", some, queries, partial(change, trial))
            ensure_stale(f"after {name}, taken", some, queries)

    def _filled(self) -> Trial:
        """A full row, one that holds less than is asked for, and an empty one."""
        trial = self.trial()
        trial.add(CHUNK)
        trial.reset(False, True, True)
        trial.add(2)
        trial.reset(False, False, True)
        return trial


def _taken(trial: Trial, queries: Tensor) -> list[tuple[SearchResult, SearchResult, Tensor]]:
    """Either door's answer, some of its columns, and which: others, in another order, of every query."""
    answers = trial.answers(queries, K)
    columns = torch.rand(
        answers[0].scores.shape, generator=trial.data.random, dtype=torch.float32, device="cpu"
    ).argsort(-1)[..., :TAKEN]
    return [(found, found.take(columns), columns) for found in answers]


def _ensure_columns(what: str, some: SearchResult, found: SearchResult, columns: Tensor) -> None:
    for name in ("scores", "positions", "mask"):
        ensure_identical(f"{name} {what}", getattr(some, name), getattr(found, name).gather(-1, columns))
    for name in ("keys", "values"):
        whole: Tensor = getattr(found, name)
        places = columns[..., None].expand(*columns.shape, whole.shape[-1])
        ensure_identical(f"{name} {what}", getattr(some, name), whole.gather(3, places))
