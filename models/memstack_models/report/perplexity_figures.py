"""The picture of perplexity against recall, which never zooms in below the noise."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memstack_models.evaluation.spread import Interval
from memstack_models.report.axes import STRETCHED, error_bars, honest_axis, line, recall_axis
from memstack_models.report.findings import UNKNOWN_COST, cost_of, exact_read, name_of, perplexity_range, within
from memstack_models.report.layout import Labels, Layout, finish
from memstack_models.report.records import Measured, Read
from memstack_models.report.style import SeriesStyle

LEAST = 4.0
"""Per cent that the axis of costs spans at least."""
SPREAD = "Bars: nineteen of twenty choices of segments from these documents (bootstrap)"


def perplexity_against_recall(results: Measured, look: Mapping[str, SeriesStyle], layout: Layout) -> Figure:
    """Perplexity against recall with what it is measured against; and what a lower recall costs, in per cent."""
    figure, (whole, near) = layout.panels(2)
    handles = _backends_whole(whole, results, look)
    labels = Labels(figure)
    ink = look[results.exact].colour
    _others(whole, results, SeriesStyle(ink, "x", ""), labels)
    whole.set_title("beside what it is measured against")
    notes = [STRETCHED, *_honest_whole(whole, results), *_costs(near, results, look)]
    near.set_title("what a lower recall costs")
    gap = 0.1 if layout.side_by_side else 0.15
    recall_axis(whole, 0.0, gap)
    backends = [recall_of(one) for one in results.perplexity if one.kind == "backend"]
    recall_axis(near, min(backends, default=0.0), gap)
    finish(figure, handles, notes, layout)
    labels.draw()
    return figure


def recall_of(one: Read) -> float:
    """A memory that was not probed is exact."""
    return 1.0 if one.recall is None else one.recall


def _backends_whole(axes: Axes, results: Measured, look: Mapping[str, SeriesStyle]) -> dict[str, Any]:
    handles: dict[str, Any] = {}
    for name, style in look.items():
        mine = _of(results, name)
        if mine:
            handles[name] = line(axes, [recall_of(one) for one in mine], [one.perplexity for one in mine], style)
    return handles


def _of(results: Measured, name: str) -> list[Read]:
    mine = [one for one in results.perplexity if one.kind == "backend" and one.name == name]
    return sorted(mine, key=recall_of)


def _others(axes: Axes, results: Measured, style: SeriesStyle, labels: Labels) -> None:
    """The baselines, and as lines the other model and this one with its memory off; each with its spread."""
    for one in results.perplexity:
        if one.kind == "backend":
            continue
        if one.kind == "baseline":
            place = recall_of(one), one.perplexity
            axes.plot(*([value] for value in place), "x", color=style.colour)
        else:
            place = 0.5, one.perplexity
            fair = one.kind == "opponent"
            axes.axhline(
                one.perplexity, color=style.colour, linestyle="-" if fair else "--", linewidth=1.4 if fair else 1
            )
        _bar(axes, place, perplexity_range(one), style)
        labels.add(axes, name_of(one), place, style.colour)
    exact = exact_read(results)
    if exact:
        _bar(axes, (1.0, exact.perplexity), perplexity_range(exact), style)


def _bar(axes: Axes, place: tuple[float, float], interval: Interval | None, style: SeriesStyle) -> None:
    if interval is not None:
        error_bars(axes, [place[0]], [place[1]], [(interval.low, interval.high)], style)


def _honest_whole(axes: Axes, results: Measured) -> list[str]:
    """The axis of perplexity; what to say of its noise."""
    exact = exact_read(results)
    interval = perplexity_range(exact) if exact else None
    values = [one.perplexity for one in results.perplexity]
    noise = interval.high - interval.low if interval else 0.0
    # No bar should be cut off, of those that are drawn.
    others = [one for one in results.perplexity if one.kind != "backend" or one is exact]
    ends = [end for one in others if (each := perplexity_range(one)) for end in (each.low, each.high)]
    honest_axis(axes, [*values, *ends], max(noise, 0.01 * max(values, default=0.0)), "perplexity per token")
    if interval is None or exact is None:
        return ["How far these perplexities can be believed is not known: no losses by segment were kept."]
    same = " All of them lie within that." if within(values, interval) else ""
    return [f"{SPREAD}: {interval.low:.2f} to {interval.high:.2f} with exact search.{same}"]


def _costs(axes: Axes, results: Measured, look: Mapping[str, SeriesStyle]) -> list[str]:
    """Per cent of perplexity against exact search on the same segments, and what to say of the noise."""
    values: list[float] = []
    widths: list[float] = []
    level = True
    for name, style in look.items():
        found = [(one, cost) for one in _of(results, name) if (cost := cost_of(results, one)) is not None]
        if not found:
            continue
        recalls = [recall_of(one) for one, _ in found]
        costs = [100 * (ratio - 1) for _, (ratio, _) in found]
        ranges = [(100 * (interval.low - 1), 100 * (interval.high - 1)) for _, (_, interval) in found]
        line(axes, recalls, costs, style)
        if all(one.segments is not None for one, _ in found):
            error_bars(axes, recalls, costs, ranges, style)
        values += [*costs, *(end for pair in ranges for end in pair)]
        widths += [high - low for low, high in ranges]
        level = level and all(interval.holds(1.0) for _, (_, interval) in found)
    noise = max(max(widths, default=0.0), 100 * UNKNOWN_COST)
    honest_axis(axes, values, max(noise, LEAST / 4), "% more perplexity than exact search")
    return ["No cost is beyond the noise: every bar reaches 0 %."] if values and level else []
