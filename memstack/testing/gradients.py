"""Promises about gradients and lifetime: what ``dot`` and ``mix`` give, where gradient flows, when answers go stale."""

from collections.abc import Callable

import torch
from torch import Tensor

from memstack.contract.errors import StaleResultError
from memstack.contract.result import MISSING_SCORE, SearchResult
from memstack.testing.assertions import ensure, ensure_close, ensure_raises
from memstack.testing.harness import CHUNK, SHAPE, Harness, Trial

CHANGES: dict[str, Callable[[Trial], None]] = {
    "add": lambda trial: trial.add(2),
    "reset": lambda trial: trial.reset(True, False, False),
    "load_state_dict": lambda trial: trial.memory.load_state_dict(trial.memory.state_dict()),
}


class GradientContract(Harness):
    """What can be done with an answer, and for how long."""

    def test_dot_gives_the_scores_again(self) -> None:
        """dot(queries) gives the scores again, with MISSING_SCORE where nothing was found."""
        trial = self.trial()
        trial.add(3)
        queries = trial.data.queries(4)
        found = trial.ask(queries, k=5)
        expected = found.scores.masked_fill(~found.mask, MISSING_SCORE)
        ensure_close("dot", found.dot(queries), expected)
        ensure(found.dot(queries).dtype == torch.float32, f"dot should be float32, got {found.dot(queries).dtype}")

    def test_mix_sums_the_values(self) -> None:
        """mix(weights) is the weighted sum of the found values."""
        trial = self.trial()
        trial.add(3)
        found = trial.check(k=5)
        weights = trial.data.numbers(*found.scores.shape)
        expected = torch.einsum("rhqk,rhqkd->rhqd", weights, found.values.float())
        ensure_close("mix", found.mix(weights), expected)
        ensure(found.mix(weights).dtype == torch.float32, f"mix should be float32, got {found.mix(weights).dtype}")

    def test_gradient_of_dot(self) -> None:
        """The gradient of dot with respect to the queries is right to float64's precision, and so is its gradient."""
        queries, found = self._small_answer()
        queries = queries.double().requires_grad_()
        ensure_gradients("dot", found.dot, queries)

    def test_gradient_of_mix(self) -> None:
        """The gradient of mix with respect to the weights is right to float64's precision, and so is its gradient."""
        _, found = self._small_answer()
        weights = torch.randn(found.scores.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        ensure_gradients("mix", found.mix, weights.requires_grad_())

    def test_gradient_in_float32(self) -> None:
        """In float32 the gradients of dot and mix are those of a plain sum over the found keys and values."""
        queries, found = self._small_answer()
        queries = queries.requires_grad_()
        upstream = torch.randn(found.scores.shape, generator=torch.Generator().manual_seed(0))
        (grad,) = torch.autograd.grad((found.dot(queries) * upstream).sum(), queries)
        # A missing column's score is a constant.
        expected = torch.einsum("rhqk,rhqkd->rhqd", upstream * found.mask, found.keys.float())
        ensure_close("the gradient of dot", grad, expected)
        weights = torch.rand(found.scores.shape).requires_grad_()
        mixed = found.mix(weights)
        upstream = torch.randn(mixed.shape, generator=torch.Generator().manual_seed(1))
        (grad,) = torch.autograd.grad((mixed * upstream).sum(), weights)
        ensure_close("the gradient of mix", grad, torch.einsum("rhqd,rhqkd->rhqk", upstream, found.values.float()))

    def test_nothing_flows_into_what_is_stored(self) -> None:
        """No gradient flows to keys and values that were added, nor through scores, keys or values of an answer."""
        trial = self.trial()
        keys, values = trial.data.keys(CHUNK).requires_grad_(), trial.data.values(CHUNK).requires_grad_()
        trial.memory.add(keys * 2, values * 2)
        queries = trial.data.queries(3).requires_grad_()
        found = trial.memory.search(queries, 4)
        for name in ("scores", "keys", "values"):
            ensure(not getattr(found, name).requires_grad, f"{name} should not require grad")
        loss = found.mix(found.dot(queries).softmax(-1)).square().sum()
        loss.backward()
        ensure(keys.grad is None and values.grad is None, "gradient reached the keys or values that were added")
        ensure(queries.grad is not None and bool(queries.grad.any()), "no gradient reached the queries")
        ensure(not any(part.requires_grad for part in trial.memory.state_dict().values()), "the state requires grad")

    def test_an_underfilled_memory_gives_finite_gradients(self) -> None:
        """softmax(scale * dot) gives missing columns no weight and finite gradients, to a learned scale as well."""
        for n in (0, 2):
            trial = self.trial()
            trial.add(n)
            queries, scale = trial.data.queries(3).requires_grad_(), torch.ones(1, requires_grad=True)
            found = trial.ask(queries, k=5)
            weights = (scale * found.dot(queries)).softmax(-1)
            found.mix(weights).square().sum().backward()
            for name, tensor in (("queries", queries), ("scale", scale)):
                grad = tensor.grad
                ensure(grad is not None and bool(grad.isfinite().all()), f"{n} entries: gradient of {name} is {grad}")
            if n:
                ensure(not bool(weights[~found.mask].any()), "missing columns should get no weight")

    def test_a_result_goes_stale(self) -> None:
        """Reading keys, values, dot or mix after the memory has changed raises StaleResultError."""
        for name, change in CHANGES.items():
            trial = self.trial()
            trial.add(CHUNK)
            queries = trial.data.queries(2)
            found = trial.ask(queries, k=3)
            change(trial)
            ensure_raises(StaleResultError, f"dot after {name}", lambda: found.dot(queries))  # noqa: B023
            ensure_raises(StaleResultError, f"mix after {name}", lambda: found.mix(found.scores))  # noqa: B023
            ensure_raises(StaleResultError, f"keys after {name}", lambda: found.keys)  # noqa: B023
            ensure_raises(StaleResultError, f"values after {name}", lambda: found.values)  # noqa: B023

    def test_backward_through_a_stale_result(self) -> None:
        """A backward pass through dot or mix after the memory has changed raises StaleResultError."""
        for name, change in CHANGES.items():
            trial = self.trial()
            trial.add(CHUNK)
            queries = trial.data.queries(2).requires_grad_()
            found = trial.ask(queries, k=3)
            scores = found.dot(queries).sum()
            mixed = found.mix(found.scores.clone().requires_grad_()).sum()
            change(trial)
            ensure_raises(StaleResultError, f"backward of dot after {name}", scores.backward)
            ensure_raises(StaleResultError, f"backward of mix after {name}", mixed.backward)

    def test_scores_and_positions_outlive_a_change(self) -> None:
        """Scores and positions are the caller's own: a later add or reset does not change them."""
        trial = self.trial()
        trial.add(CHUNK)
        found = trial.check()
        scores, positions = found.scores.clone(), found.positions.clone()
        trial.add(SHAPE.capacity)
        trial.memory.reset()
        ensure(bool((found.scores == scores).all()), "scores changed after the search")
        ensure(bool((found.positions == positions).all()), "positions changed after the search")

    def _small_answer(self) -> tuple[Tensor, SearchResult]:
        """An answer small enough to differentiate numerically: a full row, an underfilled one and an empty one."""
        trial = self.trial()
        trial.add(CHUNK)
        trial.reset(False, True, True)
        trial.add(2)
        trial.reset(False, False, True)
        queries = trial.data.queries(1)
        return queries, trial.ask(queries, k=3)


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
