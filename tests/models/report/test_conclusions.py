"""What a report concludes from its numbers, and how it writes and colours them."""

import pytest
from memstack_models.report.conclusions import backend_names, conclusions, crossover, good_enough
from memstack_models.report.records import Measured
from memstack_models.report.style import plain, series_styles, short

from memstack.measure import Point
from memstack.measure.sweep import pareto_front
from memstack.plugins.registry import registry


def point(backend: str, entries: int, step_ms: float, recall: float = 1.0) -> Point:
    return Point(
        backend=backend,
        options={},
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
    )


def made_up(*more: Point, **times: list[float]) -> Measured:
    """Results in which exact search takes a millisecond per entry of 10, 100 and 1000."""
    sizes = 10, 100, 1000
    scaling = [point("exact", size, size) for size in sizes]
    scaling += [point(name, *each) for name, mine in times.items() for each in zip(sizes, mine, strict=False)]
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


def test_the_crossover_is_where_the_cost_falls_below_that_of_exact_search() -> None:
    results = made_up(late=[100, 200, 500], never=[11, 101, 1001], always=[1, 2, 3], short=[20, 50], slow=[30])
    assert crossover(results, "late") == pytest.approx(10**2.5, rel=1e-3)
    assert crossover(results, "never") is None
    assert crossover(results, "always") == 0.0
    assert crossover(results, "short") == pytest.approx(10**1.5, rel=1e-3)
    (said,) = conclusions(results)
    assert "late is cheaper than exact search from about 320 entries on, up to 1,000;" in said
    assert "never is not cheaper than exact search up to 1,000 entries" in said
    assert "short is cheaper than exact search from about 32 entries on, up to 100 (with more it was given up" in said
    assert "slow is not cheaper than exact search up to 10 entries (with more it was given up or missed" in said


def test_a_setting_below_the_target_does_not_count() -> None:
    results = made_up(point("poor", 1000, 1.0, recall=0.9))
    assert crossover(results, "poor") is None
    assert {one.backend for one in good_enough(results)} == {"exact"}
    assert backend_names(results) == ["exact", "poor"]


def test_a_front_has_what_nothing_else_beats() -> None:
    measured = [point("any", 10, *each) for each in ((9, 0.99), (5, 0.9), (6, 0.8), (2, 0.7))]
    assert [one.recall for one in pareto_front(measured)] == [0.99, 0.9, 0.7]


def test_a_backend_keeps_its_colour_whoever_else_is_there() -> None:
    bundled = [spec.name for spec in registry().specs()]
    names = ["exact", *(name for name in bundled if name != "exact")]
    alone = {name: series_styles(["exact", name], "black")[name] for name in names[1:]}
    together = series_styles(names, "black")
    assert {name: together[name] for name in alone} == alone
    assert len({look.colour for look in together.values()}) == len(names)
    many = series_styles([str(i) for i in range(20)], "black")
    assert len(many) == 20


def test_numbers_are_written_without_exponents() -> None:
    assert [short(size) for size in (512, 1024, 65536, 1 << 20)] == ["512", "1k", "64k", "1M"]
    assert [plain(value) for value in (0.05, 20, 3000, 2e6)] == ["0.05", "20", "3k", "2M"]
