"""Assertions that explain themselves without pytest, and the comparison of an answer with the oracle."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from memstack.contract.result import SearchResult
from memstack.testing.oracle import Oracle, inner_product

TOLERANCE = 1e-5
"""Relative. The kit's own numbers are exact in half precision, and their inner products in float32."""


def ensure(kept: bool, message: str) -> None:
    """Raise AssertionError with this message unless the promise is kept."""
    if not kept:
        raise AssertionError(message)


def ensure_raises(error: type[Exception], what: str, action: Callable[[], object]) -> None:
    """Raise AssertionError unless the action raises this error."""
    try:
        action()
    except error:
        return
    except Exception as other:
        raise AssertionError(f"{what} should raise {error.__name__}, got {type(other).__name__}: {other}") from other
    raise AssertionError(f"{what} should raise {error.__name__}, and nothing was raised")


def ensure_identical(what: str, got: Tensor, expected: Tensor) -> None:
    """Raise AssertionError unless both tensors hold the same numbers, bit for bit; NaN equals NaN."""
    ensure(got.shape == expected.shape, f"{what}: expected shape {tuple(expected.shape)}, got {tuple(got.shape)}")
    ensure(got.dtype == expected.dtype, f"{what}: expected {expected.dtype}, got {got.dtype}")
    got, expected = got.detach().cpu(), expected.detach().cpu()
    same = (got == expected) | (got.isnan() & expected.isnan())
    ensure(bool(same.all()), f"{what}: {int((~same).sum())} of {same.numel()} numbers differ")


def ensure_close(what: str, got: Tensor, expected: Tensor) -> None:
    """Raise AssertionError unless both tensors agree to float32's precision; NaN equals NaN."""
    ensure(got.shape == expected.shape, f"{what}: expected shape {tuple(expected.shape)}, got {tuple(got.shape)}")
    got, expected = got.detach().cpu().double(), expected.detach().cpu().double()
    close = torch.isclose(got, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    if not bool(close.all()):
        place = tuple(int(axis) for axis in (~close).nonzero()[0])
        raise AssertionError(f"{what}: expected {float(expected[place]):g}, got {float(got[place]):g}, at {place}")


def ensure_same_state(what: str, got: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise AssertionError unless two states hold the same data; the stores' dtypes may differ."""
    ensure(got.keys() == expected.keys(), f"{what}: expected the parts {sorted(expected)}, got {sorted(got)}")
    for name, part in expected.items():
        ensure_identical(f"{what}: {name}", got[name].double(), part.double())


def ensure_same_answer(what: str, got: SearchResult, expected: SearchResult, rows: slice = slice(None)) -> None:
    """Raise AssertionError unless two answers are bit-identical in these rows; the values must still be readable."""
    ensure_identical(f"{what}: positions", got.positions[rows], expected.positions[rows])
    ensure_identical(f"{what}: scores", got.scores[rows], expected.scores[rows])


class Column(NamedTuple):
    """One column of an answer to one query."""

    score: float
    position: int
    key: list[float]
    value: list[float]


def ensure_true_answer(found: SearchResult, queries: Tensor, k: int, oracle: Oracle, exact: bool) -> None:
    """Raise AssertionError unless every column is live, true, paired, in order and unlike the others.

    An exact answer must also hold the best entries. The numbers are read once and compared in plain Python.
    """
    ensure_form(found, queries, k, oracle)
    scores, positions = found.scores.tolist(), found.positions.tolist()
    keys, values = found.keys.tolist(), found.values.tolist()
    group = queries.shape[1] // oracle.shape.heads
    for row, query_head, q in itertools.product(*map(range, queries.shape[:3])):
        parts = (part[row][query_head][q] for part in (scores, positions, keys, values))
        columns = [Column(*numbers) for numbers in zip(*parts, strict=True)]
        where = f"row {row}, query head {query_head}, query {q}"
        query = queries[row, query_head, q].tolist()
        ensure_order(columns, where)
        _ensure_stored(columns, query, oracle, (row, query_head // group), where)
        if exact:
            _ensure_best(columns, oracle.search(query, row, query_head // group, k), where)


def ensure_form(found: SearchResult, queries: Tensor, k: int, oracle: Oracle) -> None:
    """Raise AssertionError unless the answer has the promised shapes, dtypes and device."""
    outer = tuple(queries.shape[:3])
    shape = oracle.shape
    expected = {
        "scores": (found.scores, (*outer, k), torch.float32),
        "positions": (found.positions, (*outer, k), torch.int64),
        "mask": (found.mask, (*outer, k), torch.bool),
        "keys": (found.keys, (*outer, k, shape.key_dim), found.keys.dtype),
        "values": (found.values, (*outer, k, shape.value_dim), found.values.dtype),
    }
    for name, (part, size, dtype) in expected.items():
        ensure(tuple(part.shape) == size, f"{name} should be {size}, got {tuple(part.shape)}")
        ensure(part.dtype == dtype, f"{name} should be {dtype}, got {part.dtype}")
        ensure(part.device == queries.device, f"{name} should be on {queries.device}, got {part.device}")


def ensure_order(columns: Sequence[Column], where: str) -> None:
    """Found columns come first, best first, each position once; missing ones hold -inf, -1 and zeros."""
    live = [column for column in columns if column.position != -1]
    for place, column in enumerate(columns[len(live) :], len(live)):
        at = f"{where}: column {place}"
        ensure(column.position == -1, f"{at} holds an entry to the right of a missing one")
        ensure(column.score == -math.inf, f"{at} is missing and should score -inf, got {column.score}")
        ensure(not any(column.key) and not any(column.value), f"{at} is missing and should hold zeros")
    scores, positions = [column.score for column in live], [column.position for column in live]
    ensure(not any(map(math.isnan, scores)), f"{where}: a score is NaN: {scores}")
    ensure(scores == sorted(scores, reverse=True), f"{where}: scores are not best first: {scores}")
    ensure(len(set(positions)) == len(positions), f"{where}: a position comes twice: {positions}")


def _ensure_stored(
    columns: Sequence[Column], query: Sequence[float], oracle: Oracle, memory: tuple[int, int], where: str
) -> None:
    """Every found column is a live entry of this memory, with its own key, value and score."""
    for place, column in enumerate(columns):
        if column.position == -1:
            continue
        at = f"{where}: column {place}"
        entry = oracle.find(*memory, column.position)
        if entry is None:
            live = [entry.position for entry in oracle.entries[memory[0]][memory[1]]]
            span = f"{live[0]} to {live[-1]}" if live else "none"
            raise AssertionError(f"{at} has position {column.position}, live are {span}")
        named = f"{at} (position {column.position})"
        ensure(_close(column.key, entry.key), f"{named}: its key is {column.key}, stored was {entry.key}")
        ensure(_close(column.value, entry.value), f"{named}: its value is {column.value}, stored was {entry.value}")
        true = inner_product(query, entry.key)
        ensure(_close([column.score], [true]), f"{named}: scored {column.score}, the inner product is {true}")


def _ensure_best(columns: Sequence[Column], best: Sequence[tuple[float, int]], where: str) -> None:
    """An exact answer finds all there is up to k, and nothing better is left out; ties may fall either way."""
    found = [column.score for column in columns if column.position != -1]
    ensure(len(found) == len(best), f"{where}: found {len(found)} entries, {len(best)} could be found")
    expected = [score for score, _ in best]
    ensure(_close(found, expected), f"{where}: found scores {found}, the best are {expected}")


def _close(got: Sequence[float], expected: Sequence[float]) -> bool:
    return len(got) == len(expected) and all(
        math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE) or (math.isnan(a) and math.isnan(b))
        for a, b in zip(got, expected, strict=True)
    )
