"""Promises about gradients and lifetime: what ``dot`` and ``mix`` give, where gradient flows, when answers go stale."""

import itertools
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from memstack.contract.errors import StaleResultError
from memstack.contract.result import MISSING_SCORE, SearchResult
from memstack.testing.assertions import ensure, ensure_close, ensure_raises
from memstack.testing.harness import CHUNK, SHAPE, Harness, Trial

CHANGES: dict[str, Callable[[Trial], None]] = {
    "add": lambda trial: trial.add(2),
    "reset": lambda trial: trial.reset(True, False, False),
    "select": lambda trial: trial.select(0, 0, 2),
    "load_state_dict": lambda trial: trial.memory.load_state_dict(trial.memory.state_dict()),
}


class GradientContract(Harness):
    """What can be done with an answer, and for how long."""

    def test_dot_gives_the_scores_again(self) -> None:
        """dot(queries) gives the scores again, with MISSING_SCORE where nothing was found."""
        trial = self.trial()
        trial.add(3)
        queries = trial.data.queries(4)
        for found in trial.answers(queries, k=5):
            expected = found.scores.masked_fill(~found.mask, MISSING_SCORE)
            for again in (found.dot(queries), found.dot(queries.clone())):
                ensure_close("dot", again, expected)
                ensure(again.dtype == torch.float32, f"dot should be float32, got {again.dtype}")

    def test_mix_sums_the_values(self) -> None:
        """mix(weights) is the weighted sum of the found values."""
        trial = self.trial()
        trial.add(3)
        for found in trial.answers(trial.data.queries(3), k=5):
            weights = trial.data.numbers(*found.scores.shape)
            expected = torch.einsum("rhqk,rhqkd->rhqd", weights, found.values.float())
            ensure_close("mix", found.mix(weights), expected)
            ensure(found.mix(weights).dtype == torch.float32, f"mix should be float32, got {found.mix(weights).dtype}")

    def test_gradient_of_dot(self) -> None:
        """The gradient of dot with respect to the queries is right to float64's precision, and so is its gradient."""
        queries, answers = self._small_answers()
        for found in answers:
            ensure_gradients("dot", found.dot, queries.double().requires_grad_())

    def test_gradient_of_mix(self) -> None:
        """The gradient of mix with respect to the weights is right to float64's precision, and so is its gradient."""
        for found in self._small_answers()[1]:
            weights = torch.randn(
                found.scores.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0), device="cpu"
            )
            ensure_gradients("mix", found.mix, weights.requires_grad_())

    def test_gradient_in_float32(self) -> None:
        """In float32 the gradients of dot and mix are those of a plain sum over the found keys and values."""
        queries, answers = self._small_answers()
        for found in answers:
            # The very tensor that was asked, and another one: the first may be answered from the scores.
            for asked in (queries, queries.detach().clone().requires_grad_()):
                ensure_gradient_of_dot(found, asked)
            ensure_gradient_of_mix(found)

    def test_nothing_flows_into_what_is_stored(self) -> None:
        """No gradient flows to keys and values that were added, nor through scores, keys or values of an answer."""
        trial = self.trial()
        keys, values = trial.data.keys(CHUNK).requires_grad_(), trial.data.values(CHUNK).requires_grad_()
        trial.memory.add(keys * 2, values * 2)
        for ask in trial.doors:
            queries = trial.data.queries(3).requires_grad_()
            found = ask(queries, 4)
            for name in ("scores", "keys", "values"):
                ensure(not getattr(found, name).requires_grad, f"{name} should not require grad")
            found.mix(found.dot(queries).softmax(-1)).square().sum().backward()
            ensure(keys.grad is None and values.grad is None, "gradient reached the keys or values that were added")
            ensure(queries.grad is not None and bool(queries.grad.any()), "no gradient reached the queries")
        ensure(not any(part.requires_grad for part in trial.memory.state_dict().values()), "the state requires grad")

    def test_an_underfilled_memory_gives_finite_gradients(self) -> None:
        """softmax(scale * dot) gives missing columns no weight and finite gradients, to a learned scale as well."""
        for n, door in itertools.product((0, 2), range(2)):
            trial = self.trial()
            trial.add(n)
            queries, scale = (
                trial.data.queries(3).requires_grad_(),
                torch.ones(1, requires_grad=True, dtype=torch.float32, device="cpu"),
            )
            found = trial.answers(queries, k=5)[door]
            weights = (scale * found.dot(queries)).softmax(-1)
            found.mix(weights).square().sum().backward()
            for name, tensor in (("queries", queries), ("scale", scale)):
                grad = tensor.grad
                ensure(grad is not None and bool(grad.isfinite().all()), f"{n} entries: gradient of {name} is {grad}")
            if n:
                ensure(not bool(weights[~found.mask].any()), "missing columns should get no weight")

    def test_a_result_goes_stale(self) -> None:
        """Reading keys, values, dot or mix after the memory has changed raises StaleResultError."""
        for (name, change), door in itertools.product(CHANGES.items(), range(2)):
            trial = self.trial()
            trial.add(CHUNK)
            queries = trial.data.queries(2)
            found = trial.answers(queries, k=3)[door]
            change(trial)
            ensure_stale(f"after {name}", found, queries)

    def test_backward_through_a_stale_result(self) -> None:
        """A backward pass through dot or mix after the memory has changed raises StaleResultError."""
        for (name, change), door in itertools.product(CHANGES.items(), range(2)):
            trial = self.trial()
            trial.add(CHUNK)
            queries = trial.data.queries(2).requires_grad_()
            found = trial.answers(queries, k=3)[door]
            ensure_stale_backward(f"after {name}", found, queries, partial(change, trial))

    def test_scores_and_positions_outlive_a_change(self) -> None:
        """Scores and positions are the caller's own: a later add or reset does not change them."""
        trial = self.trial()
        trial.add(CHUNK)
        answers = trial.answers(trial.data.queries(3), k=5)
        kept = [(found.scores.clone(), found.positions.clone()) for found in answers]
        trial.add(SHAPE.capacity)
        trial.memory.reset()
        for found, (scores, positions) in zip(answers, kept, strict=True):
            ensure(bool((found.scores == scores).all()), "scores changed after the search")
            ensure(bool((found.positions == positions).all()), "positions changed after the search")

    def _small_answers(self) -> tuple[Tensor, list[SearchResult]]:
        """Queries and their answers, small enough to differentiate: a full row, an underfilled one and an empty one."""
        trial = self.trial()
        trial.add(CHUNK)
        trial.reset(False, True, True)
        trial.add(2)
        trial.reset(False, False, True)
        queries = trial.data.queries(1).requires_grad_()
        return queries, trial.answers(queries, k=3)


def ensure_gradient_of_dot(found: SearchResult, queries: Tensor) -> None:
    """Raise AssertionError unless dot's gradient is that of a plain sum over the found keys."""
    upstream = torch.randn(
        found.scores.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu"
    )
    (grad,) = torch.autograd.grad((found.dot(queries) * upstream).sum(), queries)
    # A missing column's score is a constant.
    expected = torch.einsum("rhqk,rhqkd->rhqd", upstream * found.mask, found.keys.float())
    ensure_close("the gradient of dot", grad, expected)


def ensure_gradient_of_mix(found: SearchResult) -> None:
    """Raise AssertionError unless mix's gradient is that of a plain sum over the found values."""
    weights = torch.rand(
        found.scores.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu"
    ).requires_grad_()
    mixed = found.mix(weights)
    upstream = torch.randn(mixed.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float32, device="cpu")
    (grad,) = torch.autograd.grad((mixed * upstream).sum(), weights)
    ensure_close("the gradient of mix", grad, torch.einsum("rhqd,rhqkd->rhqk", upstream, found.values.float()))


def ensure_stale(when: str, found: SearchResult, queries: Tensor) -> None:
    """Raise AssertionError unless whatever reads the memory through this answer raises StaleResultError."""
    ensure_raises(StaleResultError, f"dot {when}", lambda: found.dot(queries))
    ensure_raises(StaleResultError, f"mix {when}", lambda: found.mix(found.scores))
    ensure_raises(StaleResultError, f"keys {when}", lambda: found.keys)
    ensure_raises(StaleResultError, f"values {when}", lambda: found.values)


def ensure_stale_backward(when: str, found: SearchResult, queries: Tensor, change: Callable[[], None]) -> None:
    """Raise AssertionError unless a backward pass that the change overtakes raises StaleResultError."""
    scores = found.dot(queries).sum()
    mixed = found.mix(found.scores.clone().requires_grad_()).sum()
    change()
    ensure_raises(StaleResultError, f"backward of dot {when}", scores.backward)
    ensure_raises(StaleResultError, f"backward of mix {when}", mixed.backward)


def ensure_gradients(name: str, function: Callable[[Tensor], Tensor], at: Tensor) -> None:
    """Raise AssertionError unless first and second gradients agree with finite differences."""

    def wrapped(tensor: Tensor) -> Tensor:
        result = function(tensor)
        return result.masked_fill(result == MISSING_SCORE, 0)

    for check, order in ((torch.autograd.gradcheck, "gradient"), (torch.autograd.gradgradcheck, "second gradient")):
        try:
            check(wrapped, (at,))
        except torch.autograd.gradcheck.GradcheckError as error:  # type: ignore[attr-defined]
            raise AssertionError(f"the {order} of {name} is wrong: {' '.join(str(error).split())}") from error
