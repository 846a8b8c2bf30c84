"""Promises about inputs: dtypes, layouts and modes that must work, and mistakes that must be refused."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from unittest import SkipTest

import torch
from torch import Tensor

from memstack.contract.errors import NonFiniteError, ShapeError
from memstack.contract.memory import Memory
from memstack.contract.result import MISSING_SCORE
from memstack.testing.assertions import ensure, ensure_close, ensure_raises, ensure_same_answer, ensure_same_state
from memstack.testing.harness import CHUNK, SHAPE, Harness, Trial

MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}
ROWS, HEADS, KEY_DIM, VALUE_DIM = SHAPE.rows, SHAPE.heads, SHAPE.key_dim, SHAPE.value_dim
WRONG_KEYS = {
    "keys without heads": (ROWS, 4, KEY_DIM),
    "keys of too many rows": (ROWS + 1, HEADS, 4, KEY_DIM),
    "keys of one row": (1, HEADS, 4, KEY_DIM),
    "keys of too many heads": (ROWS, HEADS + 1, 4, KEY_DIM),
    "keys of the wrong key_dim": (ROWS, HEADS, 4, KEY_DIM + 1),
    "more keys than values": (ROWS, HEADS, 5, KEY_DIM),
}
WRONG_VALUES = {
    "values without heads": (ROWS, 4, VALUE_DIM),
    "values of too many rows": (ROWS + 1, HEADS, 4, VALUE_DIM),
    "values of one head": (ROWS, 1, 4, VALUE_DIM),
    "values of the wrong value_dim": (ROWS, HEADS, 4, VALUE_DIM + 1),
    "more values than keys": (ROWS, HEADS, 5, VALUE_DIM),
}
WRONG_QUERIES = {
    "queries without heads": (ROWS, 4, KEY_DIM),
    "queries of too few rows": (ROWS - 1, HEADS, 4, KEY_DIM),
    "queries of the wrong key_dim": (ROWS, HEADS, 4, KEY_DIM - 1),
    "query_heads that is no multiple of heads": (ROWS, HEADS + 1, 4, KEY_DIM),
    "no query_heads": (ROWS, 0, 4, KEY_DIM),
}
WRONG_RESETS = {
    "a reset mask of ints": torch.ones(ROWS, dtype=torch.int64, device="cpu"),
    "a reset mask of too many rows": torch.ones(ROWS + 1, dtype=torch.bool, device="cpu"),
    "a reset mask of two axes": torch.ones(ROWS, HEADS, dtype=torch.bool, device="cpu"),
    "row numbers in place of a reset mask": torch.tensor([0, 2], dtype=torch.int64, device="cpu"),
}


class InputContract(Harness):
    """What a memory takes, and what it refuses."""

    def test_input_dtypes(self) -> None:
        """Keys, values and queries may be half, single or double precision; scores are float32."""
        for dtype in (torch.float16, torch.bfloat16, torch.float64):
            trial = self.trial()
            for _ in range(3):
                trial.give(trial.data.keys(CHUNK).to(dtype), trial.data.values(CHUNK).to(dtype))
            queries = trial.data.queries(3).to(dtype)
            found = trial.ask(queries, k=4)
            expected = found.scores.masked_fill(~found.mask, MISSING_SCORE)
            ensure_close(f"dot of {dtype} queries", found.dot(queries), expected)

    def test_narrow_stores(self) -> None:
        """A store in half precision or eight bits keeps every promise; dot and mix stay float32, autocast or not."""
        if not self.narrow_dtypes:
            raise SkipTest("its options offer no dtype of fewer bits")
        for dtype in self.narrow_dtypes:
            trial = self.trial(dtype=dtype)
            for n in (5, SHAPE.capacity, CHUNK):
                trial.add(n)
                trial.check()
            _ensure_float32_under_autocast(trial)

    def test_layouts(self) -> None:
        """Inputs need not be contiguous."""
        trial = self.trial()
        for _ in range(3):
            keys = trial.data.numbers(ROWS, CHUNK, HEADS, KEY_DIM).transpose(1, 2)
            values = trial.data.numbers(HEADS, VALUE_DIM, CHUNK, ROWS).permute(3, 0, 2, 1)
            trial.give(keys, values)
        strided = trial.data.numbers(ROWS, 6, HEADS * 2, KEY_DIM * 2).transpose(1, 2)[..., ::2]
        found = trial.ask(strided, k=4)
        expected = found.scores.masked_fill(~found.mask, MISSING_SCORE)
        ensure_close("dot of strided queries", found.dot(strided), expected)
        weights = found.mask.float().transpose(0, 1).contiguous().transpose(0, 1)
        mixed = torch.einsum("rhqk,rhqkd->rhqd", weights, found.values.float())
        ensure_close("mix with strided weights", found.mix(weights), mixed)
        row = trial.data.numbers(1, 1, 4, KEY_DIM).expand(ROWS, HEADS, 4, KEY_DIM)
        trial.ask(row, k=4)

    def test_modes(self) -> None:
        """A memory can be made, filled, reset, searched and loaded under no_grad, inference_mode, autocast or none."""
        for mode in (*MODES.values(), nullcontext):
            with mode():
                trial = self.trial()
                trial.add(CHUNK)
            trial.add(SHAPE.capacity)
            with mode():
                trial.reset(False, True, False)
                trial.add(5)
                trial.check()
                trial.memory.load_state_dict(trial.memory.state_dict())
            trial.reset(True, False, False)
            trial.add(CHUNK)
            trial.check()

    def test_add_under_autocast(self) -> None:
        """What is stored does not depend on autocast, and is stored once."""
        plain, cast = self.trial(), self.trial()
        size = (ROWS, HEADS, CHUNK)
        keys, values = (
            torch.randn(*size, KEY_DIM, dtype=torch.float32, device="cpu"),
            torch.randn(*size, VALUE_DIM, dtype=torch.float32, device="cpu"),
        )
        plain.memory.add(keys, values)
        with MODES["autocast"]():
            cast.memory.add(keys, values)
        ensure_same_state("added under autocast", cast.memory.state_dict(), plain.memory.state_dict())

    def test_search_under_autocast(self) -> None:
        """Search ranks by float32 scores, also under autocast; so do dot and mix sum."""
        trial = self.trial()
        trial.add(SHAPE.capacity)
        queries = trial.data.queries(4)
        plain = trial.ask(queries, k=8)
        with MODES["autocast"]():
            cast = trial.ask(queries, k=8)
        ensure_same_answer("under autocast", cast, plain)
        _ensure_float32_under_autocast(trial)

    def test_dot_after_inference_mode(self) -> None:
        """An answer found under no_grad still gives gradients through dot and mix."""
        trial = self.trial()
        trial.add(CHUNK)
        queries = trial.data.queries(3)
        with torch.no_grad():
            found = trial.ask(queries, k=3)
        queries.requires_grad_()
        found.mix(found.dot(queries).softmax(-1)).sum().backward()
        ensure(queries.grad is not None, "no gradient reached the queries")

    def test_wrong_keys_and_values(self) -> None:
        """Keys and values of wrong axes or dtype raise ShapeError before anything is written."""
        trial = self.trial()
        trial.add(5)
        keys, values = trial.data.keys(4), trial.data.values(4)
        for what, size in WRONG_KEYS.items():
            self._ensure_refused(trial, what, torch.ones(size, dtype=torch.float32, device="cpu"), values)
        for what, size in WRONG_VALUES.items():
            self._ensure_refused(trial, what, keys, torch.ones(size, dtype=torch.float32, device="cpu"))
        self._ensure_refused(trial, "keys of ints", keys.long(), values)
        self._ensure_refused(trial, "values of ints", keys, values.long())
        trial.check()

    def test_keys_that_are_not_finite(self) -> None:
        """A key that is NaN or infinite raises NonFiniteError before anything is written."""
        self._ensure_checked(0, "a key")

    def test_values_that_are_not_finite(self) -> None:
        """A value that is NaN or infinite raises NonFiniteError before anything is written."""
        self._ensure_checked(1, "a value")

    def test_what_leaves_at_once_is_checked_too(self) -> None:
        """Of a chunk larger than the capacity, what there is no room for has to be finite as well."""
        trial = self.trial()
        trial.add(5)
        n = SHAPE.capacity + 3
        for part in range(2):
            given = (trial.data.keys(n), trial.data.values(n))
            given[part][0, 0, 0, 0] = torch.nan
            self._ensure_refused(trial, "a NaN in what leaves at once", *given, NonFiniteError)
        trial.check()

    def test_what_the_store_cannot_hold(self) -> None:
        """A finite key or value that would be infinite in the store's dtype raises NonFiniteError."""
        largest = {"float16": 1e6, "bfloat16": 3.4e38, "int8": 3.4e38}
        for dtype in self.narrow_dtypes:
            trial = self.trial(dtype=dtype)
            trial.add(5)
            for part in range(2):
                given = (trial.data.keys(4), trial.data.values(4))
                given[part][0, 1, 2, 3] = largest[dtype]
                self._ensure_refused(trial, f"{largest[dtype]:g} in {dtype}", *given, NonFiniteError)
            trial.check()

    def test_wrong_queries(self) -> None:
        """Queries of wrong axes or dtype raise ShapeError, on an empty memory as well."""
        trial = self.trial()
        for _ in range(2):
            for what, size in WRONG_QUERIES.items():
                trial.ensure_refuses(what, torch.ones(size, dtype=torch.float32, device="cpu"), 3)
            ints = torch.ones(ROWS, HEADS, 2, KEY_DIM, dtype=torch.int64, device="cpu")
            trial.ensure_refuses("queries of ints", ints, 3)
            trial.add(5)

    def test_wrong_k(self) -> None:
        """k below 1 raises ShapeError."""
        trial = self.trial()
        trial.add(5)
        queries = trial.data.queries(2)
        for k in (0, -1):
            trial.ensure_refuses(f"k={k}", queries, k)

    def test_wrong_resets(self) -> None:
        """A reset mask of wrong shape or dtype raises ShapeError and forgets nothing."""
        trial = self.trial()
        trial.add(5)
        for what, rows in WRONG_RESETS.items():
            ensure_raises(ShapeError, what, lambda: trial.memory.reset(rows))  # noqa: B023
            trial.check_counts()
        trial.check()

    def test_wrong_questions_to_a_result(self) -> None:
        """dot and mix refuse tensors that do not fit the search with ShapeError."""
        trial = self.trial()
        trial.add(5)
        found = trial.check(k=4, q=3)
        for what, size in {"too few queries": (ROWS, HEADS, 2, KEY_DIM), "a short axis": (ROWS, HEADS, 3, 1)}.items():
            given = torch.ones(size, dtype=torch.float32, device="cpu")
            ensure_raises(ShapeError, f"dot with {what}", partial(found.dot, given))
        for what, size in {"too few weights": (ROWS, HEADS, 3, 3), "one weight": (1, 1, 1, 1)}.items():
            given = torch.ones(size, dtype=torch.float32, device="cpu")
            ensure_raises(ShapeError, f"mix with {what}", partial(found.mix, given))

    def _ensure_checked(self, part: int, what: str) -> None:
        """Of keys and values, this part is refused where it is not finite."""
        trial = self.trial()
        trial.add(5)
        for bad in (torch.nan, torch.inf, -torch.inf):
            given = (trial.data.keys(4), trial.data.values(4))
            given[part][ROWS - 1, 0, 2, 3] = bad
            self._ensure_refused(trial, f"{what} of {bad}", *given, NonFiniteError)
        trial.check()

    def _ensure_refused(
        self, trial: Trial, what: str, keys: Tensor, values: Tensor, error: type[Exception] = ShapeError
    ) -> None:
        memory: Memory = trial.memory
        ensure_raises(error, what, lambda: memory.add(keys, values))
        ensure_same_state(f"the state after {what}", memory.state_dict(), trial.oracle.state_dict())


def _ensure_float32_under_autocast(trial: Trial) -> None:
    """Raise AssertionError unless dot and mix are the same under autocast: in half precision they would be rounded."""
    queries = trial.data.queries(3)
    found = trial.ask(queries, k=8)
    with MODES["autocast"]():
        dot, mixed = found.dot(queries), found.mix(found.mask.float())
    ensure(dot.dtype == mixed.dtype == torch.float32, f"dot and mix under autocast are {dot.dtype} and {mixed.dtype}")
    ensure_close("dot under autocast", dot, found.scores.masked_fill(~found.mask, MISSING_SCORE))
    ensure_close("mix under autocast", mixed, (found.mask[..., None] * found.values.float()).sum(-2))
