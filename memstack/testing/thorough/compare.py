"""An answer beside the oracle's, at any magnitude: exact, or as near as float32 sums of such terms can be."""

import itertools
import math
from collections.abc import Sequence
from operator import mul

import torch
from torch import Tensor

from memstack.contract.result import SearchResult
from memstack.testing.assertions import Column, ensure, ensure_form, ensure_order
from memstack.testing.oracle import Entry, Oracle, in_eight_bits

TOLERANCE = 1e-5
"""Of the sum of the terms' magnitudes."""


def ensure_answer(found: SearchResult, queries: Tensor, k: int, oracle: Oracle, exact: bool) -> None:
    """Raise AssertionError unless every column is live, true, paired, in order and unlike the others.

    A query that is NaN finds nothing; an exact answer to any other holds the best entries.
    """
    ensure_form(found, queries, k, oracle)
    parts = [part.tolist() for part in (found.scores, found.positions, found.keys, found.values)]
    asked, group = queries.tolist(), queries.shape[1] // oracle.shape.heads
    for row, head, q in itertools.product(*map(range, queries.shape[:3])):
        columns = [Column(*numbers) for numbers in zip(*(part[row][head][q] for part in parts), strict=True)]
        where = f"row {row}, query head {head}, query {q}"
        ensure_order(columns, where)
        query = asked[row][head][q]
        held = [] if any(map(math.isnan, query)) else oracle.entries[row][head // group]
        live = [column for column in columns if column.position != -1]
        _ensure_held(live, query, held, where)
        if exact:
            best = sorted((score(query, entry.key) for entry in held), reverse=True)[:k]
            _ensure_best([column.score for column in live], best, oracle.kept is in_eight_bits, where)


def ensure_near(what: str, got: Tensor, expected: Tensor, magnitude: Tensor) -> None:
    """Raise AssertionError unless sums agree, to a share of the magnitude of their terms; NaN equals NaN."""
    ensure(got.shape == expected.shape, f"{what}: expected shape {tuple(expected.shape)}, got {tuple(got.shape)}")
    got, expected = got.detach().to("cpu", torch.float64), expected.to(torch.float64)
    near = (got - expected).abs() <= TOLERANCE * magnitude
    far = ~(near | (got == expected) | (got.isnan() & expected.isnan()))
    if bool(far.any()):
        place = tuple(int(axis) for axis in far.nonzero()[0])
        raise AssertionError(f"{what}: expected {float(expected[place])!r}, got {float(got[place])!r}, at {place}")


def score(query: Sequence[float], key: Sequence[float]) -> tuple[float, float]:
    """Return the inner product, and the sum of its terms' magnitudes."""
    terms = list(map(mul, query, key))
    return sum(terms), sum(map(abs, terms))


def _ensure_held(columns: Sequence[Column], query: Sequence[float], held: Sequence[Entry], where: str) -> None:
    """Every column is a live entry, with its own key, value and score."""
    first = held[0].position if held else 0
    span = f"live are {first} to {held[-1].position}" if held else "nothing should be found"
    for place, column in enumerate(columns):
        at = f"{where}: column {place} (position {column.position})"
        if not 0 <= column.position - first < len(held):
            raise AssertionError(f"{at}: {span}")
        entry = held[column.position - first]
        _ensure_same(f"{at}: its key", column.key, entry.key)
        _ensure_same(f"{at}: its value", column.value, entry.value)
        true, magnitude = score(query, entry.key)
        if abs(column.score - true) > TOLERANCE * magnitude:
            raise AssertionError(f"{at}: scored {column.score!r}, the inner product is {true!r}")


def _ensure_best(found: Sequence[float], best: Sequence[tuple[float, float]], rounded: bool, where: str) -> None:
    """Nothing better is left out; ties may fall either way. Only where keys are rounded are sums not exact."""
    ensure(len(found) == len(best), f"{where}: found {len(found)} entries, {len(best)} could be found")
    reach = TOLERANCE * max((magnitude for _, magnitude in best), default=0.0) if rounded else 0.0
    if any(abs(got - true) > reach for got, (true, _) in zip(found, best, strict=True)):
        raise AssertionError(f"{where}: found scores {found}, the best are {[true for true, _ in best]}")


def _ensure_same(what: str, got: Sequence[float], expected: Sequence[float]) -> None:
    """Bit for bit; NaN equals NaN."""
    if got == expected:
        return
    pairs = zip(got, expected, strict=True)
    if not all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in pairs):
        raise AssertionError(f"{what} is {got}, stored was {expected}")
