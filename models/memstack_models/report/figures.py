"""The pictures of a report, each a function of its results."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memstack.measure import Point
from memstack.measure.sweep import pareto_front
from memstack_models.report.conclusions import (
    against_exact,
    backend_names,
    crossover,
    good_enough,
    rounded,
    steps_against_none,
)
from memstack_models.report.records import Measured, Read
from memstack_models.report.style import (
    SeriesStyle,
    Theme,
    legend_above,
    log_axis,
    panels,
    recall_axis,
    series_styles,
    sizes_axis,
    themed,
)

Draw = Callable[[Measured, Mapping[str, SeriesStyle]], Figure]
SEARCHED = "entries per memory"


def draw(name: str, results: Measured, theme: Theme, *kinds: str) -> list[bytes]:
    """Draw one of ``FIGURES`` as files of these kinds: png on the theme's paper, svg through which the page's shows."""
    with themed(theme):
        figure = FIGURES[name][1](results, series_styles(backend_names(results), theme.ink))
        files = [_file(figure, theme, kind) for kind in kinds]
    plt.close(figure)
    return files


def recall_against_speed(results: Measured, look: Mapping[str, SeriesStyle]) -> Figure:
    """Recall against queries per second, every setting; a line joins those that no other of the backend beats."""
    measured = results.settings
    figure, (axes,) = panels(1, 4.8)
    handles: dict[str, Any] = {}
    for name, mine in _by_backend(measured, look).items():
        best, style = pareto_front(mine), look[name]
        axes.plot(
            [point.recall for point in mine],
            [point.queries_per_s for point in mine],
            style.mark,
            color=style.colour,
            fillstyle="none",
            alpha=0.6,
        )
        (handles[name],) = axes.plot(
            [point.recall for point in best],
            [point.queries_per_s for point in best],
            f"{style.mark}-",
            color=style.colour,
            markersize=11 if name == results.exact else None,
        )
        _label_ends(axes, best, style)
    recall_axis(axes, min((point.recall for point in measured), default=0.0), gap=0.05)
    axes.axvline(results.target, linestyle=":", linewidth=1.2, color=look[results.exact].colour)
    log_axis(axes, "queries per second, all heads together")
    legend_above(figure, handles)
    return figure


def perplexity_against_recall(results: Measured, look: Mapping[str, SeriesStyle]) -> Figure:
    """Perplexity against recall: with the baselines and the memory switched off, and the backends alone, larger."""
    found = results.perplexity
    figure, (whole, near) = panels(2)
    handles: dict[str, Any] = {}
    for name in look:
        mine = sorted((_recall_of(one), one.perplexity) for one in found if one.name == name)
        style = look[name]
        for axes in (whole, near) if mine else ():
            (handles[name],) = axes.plot(*zip(*mine, strict=True), f"{style.mark}-", color=style.colour)
    ink = look[results.exact].colour
    for one in found:
        if one.kind == "baseline":
            whole.plot([_recall_of(one)], [one.perplexity], "x", color=ink)
            _note(whole, one.name, (_recall_of(one), one.perplexity), ink)
        elif one.kind == "none":
            whole.axhline(one.perplexity, color=ink, linestyle="--", linewidth=1)
            whole.annotate(one.name, (1, one.perplexity), ha="right", xytext=(0, 4), textcoords="offset points")
    whole.set_title("with the baselines")
    near.set_title("the backends alone")
    recall_axis(whole, 0.0)
    recall_axis(near, min((_recall_of(one) for one in found if one.kind == "backend"), default=0.0))
    for axes in (whole, near):
        axes.set_ylabel("perplexity per token")
        axes.margins(y=0.12)
    legend_above(figure, handles)
    return figure


def times_against_entries(results: Measured, look: Mapping[str, SeriesStyle]) -> Figure:
    """Search, add, and both together against exact search, by size, each backend at the target's recall."""
    chosen = good_enough(results)
    figure, (search, add, both) = panels(3)
    handles: dict[str, Any] = {}
    for name, mine in _by_backend(chosen, look).items():
        style, sizes = look[name], [point.entries for point in mine]
        line: Any = {"color": style.colour, "marker": style.mark}
        (handles[name],) = search.plot(sizes, [point.search_ms for point in mine], **line)
        add.plot(sizes, [point.add_ms for point in mine], **line)
        ratios = [against_exact(results, point) for point in mine]
        both.plot(sizes, ratios, **(line | {"marker": ""} if name == results.exact else line))
    _mark_crossovers(both, results, look)
    queries, sizes = results.segment, [point.entries for point in chosen]
    for axes, title, label in (
        (search, "search", f"ms for {queries} queries per head"),
        (add, "add, with its share of rebuilding", f"ms for {queries} keys per head"),
        (both, "search and add, against exact search", "times the cost of exact search"),
    ):
        axes.set_title(title)
        sizes_axis(axes, sizes, SEARCHED)
        log_axis(axes, label)
    legend_above(figure, handles)
    return figure


def step_against_entries(results: Measured, look: Mapping[str, SeriesStyle]) -> Figure:
    """The time of a training step by size, in units of the same model's step without a memory."""
    measured = steps_against_none(results)
    figure, (axes,) = panels(1)
    handles: dict[str, Any] = {}
    for name, style in look.items():
        mine = [(entries, times) for backend, entries, times in measured if backend == name]
        if mine:
            (handles[name],) = axes.plot(*zip(*mine, strict=True), color=style.colour, marker=style.mark)
    ink = look[results.exact].colour
    axes.axhline(1, color=ink, linestyle="--", linewidth=1)
    axes.annotate(
        "without a memory",
        (1, 1),
        xycoords=("axes fraction", "data"),
        ha="right",
        xytext=(0, 4),
        textcoords="offset points",
    )
    sizes_axis(axes, [entries for _, entries, _ in measured], SEARCHED)
    log_axis(axes, "times the step without a memory")
    legend_above(figure, handles)
    return figure


FIGURES: Mapping[str, tuple[str, Draw]] = {
    "recall-speed": ("Recall against speed", recall_against_speed),
    "recall-perplexity": ("Perplexity against recall", perplexity_against_recall),
    "times-entries": ("Search and add against entries", times_against_entries),
    "step-entries": ("A training step against entries", step_against_entries),
}
"""Title and function of every picture, by the name of its file."""


def _file(figure: Figure, theme: Theme, kind: str) -> bytes:
    written = io.BytesIO()
    # Without a date, the same numbers give the same file.
    metadata = {"Date": None} if kind == "svg" else None
    paper = "none" if kind == "svg" else theme.paper
    figure.savefig(written, format=kind, dpi=150, facecolor=paper, metadata=metadata)
    return written.getvalue()


def _by_backend(measured: Sequence[Point], names: Iterable[str]) -> dict[str, list[Point]]:
    """The points of each backend that has some, in the order of the names."""
    grouped = {name: [point for point in measured if point.backend == name] for name in names}
    return {name: mine for name, mine in grouped.items() if mine}


def _recall_of(one: Read) -> float:
    """A memory that was not probed is exact."""
    return 1.0 if one.recall is None else one.recall


def _label_ends(axes: Axes, best: Sequence[Point], style: SeriesStyle) -> None:
    """The varied option's value at both ends of a Pareto front, outside of it."""
    for point, offset, side in ((best[0], (-5, -13), "right"), (best[-1], (6, 4), "left")):
        if point.options:
            value = list(point.options.values())[-1]
            place = point.recall, point.queries_per_s
            axes.annotate(
                str(value), place, xytext=offset, textcoords="offset points", ha=side, color=style.colour, fontsize=9
            )


def _mark_crossovers(axes: Axes, results: Measured, look: Mapping[str, SeriesStyle]) -> None:
    """The number of entries at which a line falls below that of exact search."""
    found = [(name, entries) for name in look if (entries := crossover(results, name))]
    for place, (name, entries) in enumerate(found):
        axes.plot([entries], [1], "|", color=look[name].colour, markersize=14)
        axes.annotate(
            f"{name}: {rounded(entries):,}",
            (0.02, 0.03 + 0.07 * place),
            xycoords="axes fraction",
            color=look[name].colour,
            fontsize=9,
        )


def _note(axes: Axes, text: str, place: tuple[float, float], colour: str) -> None:
    axes.annotate(text, place, xytext=(6, 4), textcoords="offset points", color=colour, fontsize=9)
