"""The pictures of tables, ours with published marks beside them; wide, and narrow for small screens."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memstack_models.report.axes import error_bars, honest_axis, line, recall_axis, sizes_axis
from memstack_models.report.figures import picture_file
from memstack_models.report.layout import Labels, Layout, finish
from memstack_models.report.reproduce.curves import closed
from memstack_models.report.reproduce.making import NONE
from memstack_models.report.reproduce.records import ReproduceRecord
from memstack_models.report.reproduce.summary import (
    Mean,
    change,
    labels,
    outcomes,
    own_label,
    perplexity,
    published_change,
    read,
)
from memstack_models.report.style import COLOURS, LIGHT, LINES, MARKS, SeriesStyle, themed

AGAINST = "% perplexity, fair opponent = 0"
PAPER = "Hollow marks: the paper's, at its own scale."
ORDER = 10, 11, 3, 7, 5, 0, 2, 9, 8, 6, 1, 4
"""Of the colours: each far from those before it."""
WITHOUT, WITH = "no memory", "with a memory"
STYLES = {WITHOUT: SeriesStyle("#4e88fe", "s", "-"), WITH: SeriesStyle("#db046c", "D", "--")}
"""Of figure 1's two series, whose colours should be far apart."""
SPREAD = "Bars: one standard deviation over seeds; of a single seed, nineteen of twenty draws of the text (bootstrap)."


def draw(record: ReproduceRecord, layout: Layout) -> bytes | None:
    """Return a table's picture as a PNG file; None where too little was measured for one."""
    with themed(LIGHT):
        figure = FIGURES[record.grid.picture](record, layout)
        content = picture_file(figure, LIGHT, "png") if figure else None
    plt.close("all" if figure is None else figure)
    return content


def by_size(record: ReproduceRecord, layout: Layout) -> Figure | None:
    """Change over memory size: a panel for each cell and a line for each corpus, or the other way round if fewer."""
    cells = [cell.name for cell in record.grid.cells if cell.memory and outcomes_any(record, cell.name)]
    corpora = [corpus for corpus in record.corpora if any(outcomes(record, corpus, cell) for cell in cells)]
    if not cells:
        return None
    panels_are_cells = len(corpora) > 1
    panels, lines = (cells, corpora) if panels_are_cells else (corpora, cells)
    styles = coloured(lines)
    figure, every = layout.panels(len(panels), 4.2)
    handles: dict[str, Any] = {}
    for axes, panel in zip(every, panels, strict=True):
        drawn: list[Mean] = []
        sizes: set[int] = set()
        for number, name in enumerate(lines):
            corpus, cell = (name, panel) if panels_are_cells else (panel, name)
            handle, found = _line_of_sizes(axes, record, corpus, cell, styles[name], number - len(lines) / 2)
            if handle is not None:
                handles[name] = handle
            drawn += [each for _, each in found]
            sizes |= {size for size, _ in found}
        axes.set_title(panel)
        finish_changes(axes, drawn, _paper_marks(axes))
        sizes_axis(axes, sizes or {1}, "entries of the memory that is read with")
    finish(figure, handles, _notes(record), layout)
    return figure


def by_cell(record: ReproduceRecord, layout: Layout) -> Figure | None:
    """Change of each cell with the memory that it was trained with, one below the other; a panel for each corpus."""
    cells = [cell for cell in record.grid.cells if cell.memory and outcomes_any(record, cell.name)]
    corpora = [corpus for corpus in record.corpora if any(outcomes(record, corpus, cell.name) for cell in cells)]
    if not cells:
        return None
    figure, every = layout.panels(len(corpora), 1.2 + 0.36 * len(cells), 1.2 + 0.36 * len(cells))
    style = coloured(["ours"])["ours"]
    for axes, corpus in zip(every, corpora, strict=True):
        for place, cell in enumerate(cells):
            found = change(record, corpus, cell.name, own_label(cell))
            if found is not None:
                axes.plot([100 * found.low, 100 * found.high], [place, place], color=style.colour, linewidth=1.4)
                axes.plot([100 * found.value], [place], style.mark, color=style.colour)
            paper = published_change(record.grid, corpus, cell.name, own_label(cell))
            paper = paper if paper is not None else _any_published(record, cell.name)
            if paper is not None:
                axes.plot([100 * paper], [place], "o", markerfacecolor="none", color=LIGHT.ink)
        axes.axvline(0, color=LIGHT.ink, linewidth=1.2)
        axes.set_yticks(range(len(cells)), [cell.name for cell in cells])
        axes.invert_yaxis()
        axes.set_title(corpus)
        axes.set_xlabel(AGAINST)
    finish(figure, {}, _notes(record, other_corpus=True), layout)
    return figure


def by_steps(record: ReproduceRecord, layout: Layout) -> Figure | None:
    """The part of the gap that is closed, by steps of fine-tuning; a panel for each corpus."""
    cells = [cell.name for cell in record.grid.cells if any(closed(record, each, cell.name) for each in record.corpora)]
    if not cells:
        return None
    styles = coloured(cells)
    figure, every = layout.panels(len(record.corpora), 4.2)
    handles: dict[str, Any] = {}
    for axes, corpus in zip(every, record.corpora, strict=True):
        for name in cells:
            points = [(0.0, 0.0), *closed(record, corpus, name)]
            shares = [100 * share for _, share in points]
            handles[name] = line(axes, [steps for steps, _ in points], shares, styles[name])
        for level in (0, 100):
            axes.axhline(level, color=LIGHT.ink, linewidth=1.2, linestyle="-" if level else "--")
        _points(axes, record)
        axes.set(
            title=corpus, xlabel="steps of fine-tuning, in % of the first training's", ylabel="% of the gap closed"
        )
    finish(figure, handles, [PAPER], layout)
    return figure


def by_parameters(record: ReproduceRecord, layout: Layout) -> Figure | None:
    """Perplexity against the smallest model without a memory, by size; a panel for each corpus."""
    figure, every = layout.panels(len(record.corpora), 4.2)
    handles: dict[str, Any] = {}
    for axes, corpus in zip(every, record.corpora, strict=True):
        series = _sizes_of_models(record, corpus)
        for name, found in series.items():
            if found:
                handles[name] = line(axes, [x for x, _ in found], [y for _, y in found], STYLES[name])
        for x, y in series[WITH][:1]:
            axes.axhline(y, color=STYLES[WITH].colour, linewidth=1, linestyle="--")
            axes.axvline(5 * x, color=LIGHT.faint, linewidth=1.2)
        largest = max((x for found in series.values() for x, _ in found), default=1.0)
        sizes_axis(axes, [each for each in (1, 2, 5, 10, 20, 40) if each <= 1.2 * largest], "parameters, smallest = 1")
        _points(axes, record, beyond=2 * largest)
        axes.set(title=corpus, ylabel="% perplexity, smallest without memory = 0")
    notes = ["Dashed: the model with a memory. Grey: five times its size, the paper's claim.", PAPER]
    if not handles:
        plt.close(figure)
        return None
    finish(figure, handles, notes, layout)
    return figure


def by_recall(record: ReproduceRecord, layout: Layout) -> Figure | None:
    """Change against the fair opponent over recall, a mark for each search; a panel for each corpus."""
    searching = [cell for cell in record.grid.cells if cell.searches and outcomes_any(record, cell.name)]
    if not searching:
        return None
    figure, every = layout.panels(len(record.corpora), 4.6)
    names = list(dict.fromkeys(_backend(label) for cell in searching for label in labels(record, cell.name)))
    styles, texts = coloured([name for name in names if name != NONE]), Labels(figure)
    handles: dict[str, Any] = {}
    for axes, corpus in zip(every, record.corpora, strict=True):
        drawn: list[Mean] = []
        for cell in searching:
            for label in labels(record, cell.name):
                found = change(record, corpus, cell.name, label)
                recalls = [each.recall for each in read(record, corpus, cell.name, label) if each.recall is not None]
                if found is None or not recalls:
                    continue
                place, style = sum(recalls) / len(recalls), styles[_backend(label)]
                handles[_backend(label)] = line(axes, [place], [100 * found.value], style)
                error_bars(axes, [place], [100 * found.value], [(100 * found.low, 100 * found.high)], style)
                drawn.append(found)
        finish_changes(axes, drawn, [])
        recall_axis(axes, 0.0, 0.1 if layout.side_by_side else 0.15)
        axes.set_title(corpus)
    finish(figure, handles, _notes(record, hollow=False), layout)
    texts.draw()
    return figure


FIGURES: Mapping[str, Callable[[ReproduceRecord, Layout], Figure | None]] = {
    "sizes": by_size,
    "cells": by_cell,
    "steps": by_steps,
    "models": by_parameters,
    "recall": by_recall,
}
"""What draws a grid, by its kind of picture."""


def coloured(names: Sequence[str]) -> dict[str, SeriesStyle]:
    """Colour, mark and line of each name, by their order: few lines have colours that are far apart."""
    return {
        name: SeriesStyle(COLOURS[ORDER[i % len(ORDER)]], MARKS[i % len(MARKS)], LINES[i % len(LINES)])
        for i, name in enumerate(names)
    }


def outcomes_any(record: ReproduceRecord, cell: str) -> bool:
    """Whether a cell was made on any corpus."""
    return any(outcomes(record, corpus, cell) for corpus in record.corpora)


def finish_changes(axes: Axes, drawn: Sequence[Mean], others: Sequence[float]) -> None:
    """The axis of changes, in per cent, with the opponent's line at 0."""
    ends = [100 * end for each in drawn for end in (each.low, each.high)]
    widths = [100 * (each.high - each.low) for each in drawn]
    honest_axis(axes, [0.0, *ends, *others], max(widths, default=0.0), AGAINST)
    axes.axhline(0, color=LIGHT.ink, linewidth=1.2)


def _line_of_sizes(
    axes: Axes, record: ReproduceRecord, corpus: str, cell: str, style: SeriesStyle, place: float
) -> tuple[Any, list[tuple[int, Mean]]]:
    """One cell's changes over the sizes that it was read with, a published mark at those that have one."""
    found = [
        (int(label), each)
        for label in labels(record, cell)
        if label.isdigit() and (each := change(record, corpus, cell, label))
    ]
    if not found:
        return None, []
    # A little apart, so that no line hides another one's bars.
    places, values = [size * 1.03**place for size, _ in found], [100 * each.value for _, each in found]
    handle = line(axes, places, values, style)
    error_bars(axes, places, values, [(100 * each.low, 100 * each.high) for _, each in found], style)
    for x, (size, _) in zip(places, found, strict=True):
        paper = published_change(record.grid, corpus, cell, str(size))
        if paper is not None:
            axes.plot([x], [100 * paper], style.mark, color=style.colour, markerfacecolor="none", gid="paper")
    return handle, found


def _paper_marks(axes: Axes) -> list[float]:
    return [float(value) for each in axes.lines if each.get_gid() == "paper" for value in list(each.get_ydata())]  # pyright: ignore[reportArgumentType]


def _sizes_of_models(record: ReproduceRecord, corpus: str) -> dict[str, list[tuple[float, float]]]:
    """Size in units of the smallest model's, and perplexity against its, by whether there is a memory."""
    found: dict[str, list[tuple[int, float]]] = {WITHOUT: [], WITH: []}
    for cell in record.grid.cells:
        value = perplexity(record, corpus, cell.name, own_label(cell))
        if value is not None:
            parameters = outcomes(record, corpus, cell.name)[0].parameters
            found[WITH if cell.memory else WITHOUT].append((parameters, value.value))
    if not found[WITHOUT]:
        return {name: [] for name in found}
    unit, base = min(found[WITHOUT])
    return {
        name: sorted((size / unit, 100 * (value / base - 1)) for size, value in each) for name, each in found.items()
    }


def _points(axes: Axes, record: ReproduceRecord, beyond: float = float("inf")) -> None:
    """The published marks of a figure, but for those that are far beyond what was measured."""
    for point in record.grid.points:
        if point.x <= beyond:
            style = STYLES.get(point.series, SeriesStyle(LIGHT.ink, "o"))
            axes.plot([point.x], [point.y], style.mark, markerfacecolor="none", color=style.colour, gid="paper")


def _any_published(record: ReproduceRecord, cell: str) -> float | None:
    """The paper's change of a cell on whatever corpus it has one."""
    corpora = next(iter(record.grid.cell(cell).published.values()), {})
    found = (published_change(record.grid, each, cell, own_label(record.grid.cell(cell))) for each in corpora)
    return next((each for each in found if each is not None), None)


def _backend(label: str) -> str:
    return "exact" if label.isdigit() else label.partition(",")[0]


def _notes(record: ReproduceRecord, *, hollow: bool = True, other_corpus: bool = False) -> list[str]:
    notes = [SPREAD]
    if hollow:
        notes.append("Hollow marks: the paper's, on arXiv, at its own scale." if other_corpus else PAPER)
    if record.shrink > 1:
        notes.append(f"Sizes are the paper's; these memories had {record.shrink} times fewer entries.")
    return notes
