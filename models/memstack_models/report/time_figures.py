"""Pictures of times: recall against speed, search and add against entries, training steps against entries."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memstack.measure import Point
from memstack.measure.sweep import pareto_front
from memstack_models.report.axes import STRETCHED, error_bars, line, log_axis, recall_axis, sizes_axis
from memstack_models.report.conclusions import crossover_text
from memstack_models.report.findings import (
    against_exact,
    disturbed,
    good_enough,
    standings,
    steps_against_none,
)
from memstack_models.report.layout import Labels, Layout, finish
from memstack_models.report.records import Measured
from memstack_models.report.style import SeriesStyle

SEARCHED = "entries per memory"
BARS = "Bars: from the fastest to the slowest of the repeats."
HOLLOW = "Hollow marks: another setting of the same backend is better in both."


def recall_against_speed(results: Measured, look: Mapping[str, SeriesStyle], layout: Layout) -> Figure:
    """Recall against queries per second, every setting; a line joins those that no other of the backend beats."""
    measured = results.settings
    figure, (axes,) = layout.panels(1, 4.4)
    handles: dict[str, Any] = {}
    labels, hollow = Labels(figure), False
    for name, mine in _by_backend(measured, look).items():
        best, style = pareto_front(mine), look[name]
        beaten = [point for point in mine if point not in best]
        _marks(axes, beaten, style)
        size: Any = {"markersize": 11, "clip_on": False} if name == results.exact else {}
        handles[name] = line(axes, *_recall_and_speed(best), style, **size)
        error_bars(axes, *_recall_and_speed(best), [_speed_range(point) for point in best], style)
        for point in _ends(best):
            labels.add(axes, str(list(point.options.values())[-1]), (point.recall, point.queries_per_s), style.colour)
        hollow = hollow or bool(beaten)
    recall_axis(axes, min((point.recall for point in measured), default=0.0), gap=0.05 if layout.side_by_side else 0.13)
    axes.axvline(results.target, linestyle=":", linewidth=1.2, color=look[results.exact].colour)
    log_axis(axes, "queries per second, all heads together")
    finish(figure, handles, [*([HOLLOW] if hollow else []), STRETCHED, *_notes(results)], layout)
    labels.draw()
    return figure


def times_against_entries(results: Measured, look: Mapping[str, SeriesStyle], layout: Layout) -> Figure:
    """Search, add, and both together against exact search, by size, each backend at the target's recall."""
    chosen = good_enough(results)
    figure, (search, add, both) = layout.panels(3)
    handles: dict[str, Any] = {}
    labels = Labels(figure)
    for name, mine in _by_backend(chosen, look).items():
        style, sizes = look[name], [point.entries for point in mine]
        handles[name] = line(search, sizes, [point.search_ms for point in mine], style)
        error_bars(search, sizes, [point.search_ms for point in mine], [_search_range(point) for point in mine], style)
        line(add, sizes, [point.add_ms for point in mine], style)
        ratios = [against_exact(results, point) for point in mine]
        middles = [ratio.middle for ratio in ratios]
        line(both, sizes, middles, style, **({"marker": ""} if name == results.exact else {}))
        error_bars(both, sizes, middles, [ratio.bar for ratio in ratios], style)
    _mark_crossovers(both, results, look, labels)
    queries, sizes = results.segment, [point.entries for point in chosen]
    for axes, title, label in (
        (search, "search", f"ms for {queries} queries per head"),
        (add, "add, with its share of rebuilding", f"ms for {queries} keys per head"),
        (both, "search and add, against exact search", "times the cost of exact search"),
    ):
        axes.set_title(title)
        sizes_axis(axes, sizes, SEARCHED)
        log_axis(axes, label)
    finish(figure, handles, _notes(results), layout)
    labels.draw()
    return figure


def step_against_entries(results: Measured, look: Mapping[str, SeriesStyle], layout: Layout) -> Figure:
    """The time of a training step by size, in units of the same model's step without a memory."""
    measured = steps_against_none(results)
    figure, (axes,) = layout.panels(1)
    handles: dict[str, Any] = {}
    for name, style in look.items():
        mine = [(step.entries, times) for step, times in measured if step.backend == name]
        if mine:
            sizes, ratios = zip(*mine, strict=True)
            middles = [ratio.middle for ratio in ratios]
            handles[name] = line(axes, sizes, middles, style)
            error_bars(axes, sizes, middles, [ratio.bar for ratio in ratios], style)
    ink = look[results.exact].colour
    axes.axhline(1, color=ink, linestyle="--", linewidth=1)
    sizes_axis(axes, [step.entries for step, _ in measured], SEARCHED)
    log_axis(axes, "times the step without a memory")
    finish(figure, handles, ["Dashes: the step without a memory.", *_notes(results)], layout)
    return figure


def _marks(axes: Axes, beaten: Sequence[Point], style: SeriesStyle) -> None:
    """Hollow marks of the settings that another one beats."""
    recalls, speeds = _recall_and_speed(beaten)
    axes.plot(recalls, speeds, style.mark, color=style.colour, fillstyle="none", alpha=0.6)


def _ends(best: Sequence[Point]) -> list[Point]:
    """Both ends of a front, where the varied option's value is written; of one point, that point once."""
    ends = [best[0], best[-1]] if len(best) > 1 else list(best)
    return [point for point in ends if point.options]


def _recall_and_speed(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.recall for point in points], [point.queries_per_s for point in points]


def _search_range(point: Point) -> tuple[float, float]:
    repeats = point.search_repeats_ms or (point.search_ms,)
    return min(repeats), max(repeats)


def _speed_range(point: Point) -> tuple[float, float]:
    fastest, slowest = _search_range(point)
    return point.queries_per_s * point.search_ms / slowest, point.queries_per_s * point.search_ms / fastest


def _by_backend(measured: Sequence[Point], names: Iterable[str]) -> dict[str, list[Point]]:
    """The points of each backend that has some, in the order of the names."""
    grouped = {name: [point for point in measured if point.backend == name] for name in names}
    return {name: mine for name, mine in grouped.items() if mine}


def _mark_crossovers(axes: Axes, results: Measured, look: Mapping[str, SeriesStyle], labels: Labels) -> None:
    """The number of entries from which on a line lies below that of exact search, beside a tick of its own."""
    for standing in standings(results):
        if standing.crossover:
            colour = look[standing.backend].colour
            axes.plot([standing.crossover], [1], "|", color=colour, markersize=14)
            labels.add(axes, f"{standing.backend}: {crossover_text(standing)}", (standing.crossover, 1.0), colour)


def _notes(results: Measured) -> list[str]:
    """What every picture of times says below it."""
    repeated = any(point.search_repeats_ms for point in (*results.settings, *results.scaling))
    told = disturbed(results)
    busy = [f"Something else was running: the machine's load was {' and '.join(told)}."] if told else []
    return [BARS if repeated else "No repeats were kept, so that no spread is shown.", *busy]
