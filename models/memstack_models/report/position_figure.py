"""The picture of perplexity by position in the document, of memories beside an opponent without one."""

from collections.abc import Sequence
from itertools import pairwise
from math import inf
from typing import Any

from matplotlib.figure import Figure

from memstack_models.evaluation.runs import start_of, stretch_titles
from memstack_models.evaluation.spread import perplexity_interval
from memstack_models.report.axes import error_bars, honest_axis, line
from memstack_models.report.layout import Layout, finish
from memstack_models.report.perplexity_figures import SPREAD
from memstack_models.report.positions import OpponentRecord, PositionLine
from memstack_models.report.style import SeriesStyle, series_styles

DODGE = 0.06
"""How far lines are apart within a stretch, whose width is 1: none hides another one's marks and bars."""


def perplexity_by_position(
    lines: Sequence[PositionLine], ink: str, layout: Layout, level: OpponentRecord | None = None, title: str = ""
) -> Figure:
    """Perplexity of each stretch of the documents, from 0 on; ``level`` is an opponent known by its whole text only."""
    figure, (axes,) = layout.panels(1, 4.2)
    stretches = stretch_titles([each.by_position for each in lines])
    handles: dict[str, Any] = {}
    values: list[float] = []
    widths: list[float] = []
    for number, (each, style) in enumerate(zip(lines, _styles(lines, ink), strict=True)):
        by_start = {start_of(stretch): value for stretch, value in each.by_position.items()}
        drawn = [(place, start) for place, start in enumerate(stretches) if start in by_start]
        places = [place + DODGE * (number - (len(lines) - 1) / 2) for place, _ in drawn]
        heights = [by_start[start] for _, start in drawn]
        ranges = _ranges(each, heights)
        handles[each.name] = line(axes, places, heights, style)
        error_bars(axes, places, heights, ranges, style)
        values += [*heights, *(high for _, high in ranges)]
        widths += [high - low for low, high in ranges]
    if level is not None:
        handles[level.name] = axes.axhline(level.perplexity, color=ink, linewidth=1.4)
        values.append(level.perplexity)
    axes.set_xticks(range(len(stretches)), list(stretches.values()))
    axes.set_xlabel("position in the document (tokens), all stretches as wide")
    axes.set_title(title)
    honest_axis(axes, [0.0, *values], max(widths, default=0.0), "perplexity per token")
    axes.set_ylim(bottom=0)
    finish(figure, handles, _notes(any(widths), level), layout)
    return figure


def _styles(lines: Sequence[PositionLine], ink: str) -> list[SeriesStyle]:
    """The first memory in ink; this model without its own dashed, and an opponent, both in ink."""
    names = [each.name for each in lines if each.kind == "memory"]
    found = series_styles(names, ink) if names else {}
    others = {"off": SeriesStyle(ink, "", "--"), "opponent": SeriesStyle(ink, "d", "-.")}
    return [found[each.name] if each.kind == "memory" else others[each.kind] for each in lines]


def _notes(spread: bool, level: OpponentRecord | None) -> list[str]:
    notes = [f"{SPREAD}."] if spread else []
    if level is None:
        return notes
    return [*notes, f"Level line: the same model {level.name}, {level.perplexity:.2f} on the whole of this text."]


def _ranges(each: PositionLine, heights: Sequence[float]) -> list[tuple[float, float]]:
    """The interval of each stretch; where it is not known, the value alone."""
    starts = [_number(start_of(stretch)) for stretch in each.by_position]
    if each.segments is None:
        return [(height, height) for height in heights]
    found = [perplexity_interval(each.segments, *pair) for pair in pairwise([*starts, inf])]
    return [(one.low, one.high) if one else (height, height) for one, height in zip(found, heights, strict=True)]


def _number(text: str) -> float:
    return 1024 * float(text[:-1]) if text.endswith("k") else float(text)
