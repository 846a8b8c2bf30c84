"""Made-up numbers of a report, to conclude from and to draw."""

from collections.abc import Sequence
from math import log
from typing import Any

from memstack_models.evaluation.spread import Segments
from memstack_models.report.records import Measured, Read, Report, StepTime

from memstack.measure import Point

SIZES = 10, 100, 1000


def point(backend: str, entries: int, step_ms: float, recall: float = 1.0, **more: Any) -> Point:
    """A point whose step takes so long, all of it in the search."""
    return Point(
        backend=backend,
        options=more.pop("options", {}),
        rows=1,
        heads=1,
        entries=entries,
        queries=16,
        recall=recall,
        attention_mass_recall=recall,
        search_ms=step_ms,
        add_ms=0.0,
        worst_add_ms=0.0,
        fill_s=0.0,
        **more,
    )


def repeated(backend: str, entries: int, times: Sequence[float], **more: Any) -> Point:
    """A point whose searches took so many times as long as the exact ones beside them, each of which took its size."""
    exact = (float(entries),) * len(times)
    mine = tuple(entries * each for each in times)
    middle = sorted(mine)[len(mine) // 2]
    return point(backend, entries, middle, search_repeats_ms=mine, exact_repeats_ms=exact, **more)


def read(name: str, factors: Sequence[float], recall: float | None = None, kind: Any = "backend") -> Read:
    """A text read in segments of a hundred tokens whose perplexities are these."""
    nats = [100 * log(each) for each in factors]
    segments = Segments(
        documents=(0,) * len(factors),
        starts=tuple(100 * i for i in range(len(factors))),
        nats=tuple(nats),
        tokens=(100,) * len(factors),
    )
    perplexity = 2.718281828459045 ** (sum(nats) / (100 * len(factors)))
    return Read(
        kind=kind,
        name=name,
        options={},
        recall=recall,
        perplexity=perplexity,
        bits_per_byte=1.0,
        tokens=100 * len(factors),
        by_position={"0-1k": perplexity},
        segments=segments,
    )


def step(backend: str | None, entries: int, times: Sequence[float]) -> StepTime:
    """A training step that took so many times the one without a memory, of a millisecond, in turns with it."""
    middle = sorted(times)[len(times) // 2]
    return StepTime(
        backend=backend,
        options={},
        entries=entries,
        ms=middle,
        repeats_ms=tuple(times),
        without_repeats_ms=(1.0,) * len(times) if backend else None,
    )


def made_up(*more: Point, **times: list[float]) -> Measured:
    """Results in which exact search takes a millisecond per entry of 10, 100 and 1000."""
    scaling = [point("exact", size, size) for size in SIZES]
    scaling += [point(name, *each) for name, mine in times.items() for each in zip(SIZES, mine, strict=False)]
    return Measured(
        date="today",
        seed=0,
        target=0.95,
        quick=False,
        neighbours=4,
        rows=1,
        heads=1,
        segment=16,
        key_dim=8,
        machine={},
        exact="exact",
        settings=(),
        scaling=(*scaling, *more),
        perplexity=(),
        steps=(),
        failures=(),
        given_up=(),
        absent={},
    )


def whole(measured: Measured) -> Report:
    """The numbers as a report, to be drawn."""
    rest: dict[str, Any] = {"checkpoint": "made-up", "entries": 100, "capacity": 100, "tokens": 1000, "minutes": 1.0}
    return Report(**dict(measured), conclusions=(), **rest)
