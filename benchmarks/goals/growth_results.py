"""What ``growth.py`` measured: slopes on logarithmic axes, a table of them, and a picture for each axis."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from memstack_models.report.axes import log_axis, sizes_axis
from memstack_models.report.layout import WIDE, Layout
from memstack_models.report.records import LeftOut
from memstack_models.report.style import LIGHT, SeriesStyle, series_styles, themed
from rich.table import Table

from memstack.cli.console import table
from memstack.plugins.config import Frozen
from memstack.plugins.records import Record

Verb = Literal["search", "add", "step"]
VERBS: Mapping[Verb, str] = {
    "search": "search",
    "add": "add, with its share of rebuilding",
    "step": "training step",
}
LABELS = {"entries": "entries, of one memory", "memories": "memories (rows x heads)"}
NO_MEMORY = "no memory"
UPPER_END = 3
"""Sizes, the largest, that a slope is fitted to."""
GREY = "#8c959f"
WORST = 1.1
"""The slope up to which growth counts as linear."""


class Cell(Frozen):
    """One backend at one size along an axis; times are milliseconds, None where the verb was not measured."""

    axis: str
    backend: str
    size: int
    took_s: float
    """The whole measurement, in seconds."""
    search: float | None = None
    add: float | None = None
    step: float | None = None
    recall: float | None = None

    def times(self) -> dict[Verb, float]:
        """The times that were measured."""
        times: dict[Verb, float | None] = {"search": self.search, "add": self.add, "step": self.step}
        return {verb: ms for verb, ms in times.items() if ms is not None}


class Slope(Frozen):
    """How the time of a verb grows at the upper end of an axis."""

    axis: str
    backend: str
    verb: Verb
    slope: float
    defect: bool
    """True if it is worse than linear."""


class Growth(Record):
    """What ``growth.py`` writes."""

    kind: Literal["growth"] = "growth"
    machine: dict[str, str]
    minutes: float
    limit_s: float
    """Seconds that a backend might take at one size."""
    cells: tuple[Cell, ...]
    slopes: tuple[Slope, ...]
    left_out: tuple[LeftOut, ...]
    failed: int


def slopes(cells: Sequence[Cell]) -> tuple[Slope, ...]:
    """Fit the upper end of every line that has one; ``defect`` says that it is worse than linear."""
    lines: dict[tuple[str, str, Verb], list[tuple[int, float]]] = {}
    for cell in cells:
        for verb, ms in cell.times().items():
            lines.setdefault((cell.axis, cell.backend, verb), []).append((cell.size, ms))
    fitted = {line: slope(points) for line, points in lines.items() if len(points) >= UPPER_END}
    return tuple(
        Slope(axis=axis, backend=backend, verb=verb, slope=found, defect=found > WORST)
        for (axis, backend, verb), found in fitted.items()
    )


def slope(points: Sequence[tuple[int, float]]) -> float:
    """The exponent of growth at the upper end: the slope of a straight line through the logarithms."""
    sizes, times = np.log(np.array(sorted(points)[-UPPER_END:], float)).T
    return float(np.polyfit(sizes, times, 1)[0])


def axis_names(results: Growth) -> list[str]:
    """The axes along which anything was measured."""
    return list(dict.fromkeys(cell.axis for cell in results.cells))


def slopes_table(results: Growth, axis: str) -> Table:
    """Slope of each verb of each backend, and what was found and took how long at its largest size."""
    made = table("backend", right=("up to", "search", "slope", "add", "slope", "step", "slope", "recall"))
    for backend, mine in _lines(results, axis).items():
        last = mine[-1]
        times = [part for verb in VERBS for part in (_ms(last, verb), _told(results, axis, backend, verb))]
        recall = "" if last.recall is None else f"{last.recall:.3f}"
        made.add_row(backend, f"{last.size:,}", *times, recall)
    made.title = f"{LABELS[axis]}: milliseconds, and slope of the {UPPER_END} largest sizes"
    return made


def draw(results: Growth, axis: str, layout: Layout = WIDE) -> bytes:
    """Search, add and step by size, as a PNG; each panel's legend tells the slopes."""
    lines = _lines(results, axis)
    look = series_styles([name for name in lines if name != NO_MEMORY] or [NO_MEMORY], LIGHT.ink) | {
        NO_MEMORY: SeriesStyle(GREY, "")
    }
    written = io.BytesIO()
    with themed(LIGHT):
        figure, every = layout.panels(len(VERBS), 5.4, 4.6)
        for axes, (verb, title) in zip(every, VERBS.items(), strict=True):
            for name, mine in lines.items():
                _plot(axes, results, axis, name, verb, mine, look[name])
            axes.set_title(title)
            sizes_axis(axes, sorted({cell.size for mine in lines.values() for cell in mine}), LABELS[axis])
            log_axis(axes, "milliseconds")
            if axes.lines:
                _linear(axes)
                axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=8.5, handlelength=1.6)
        marks = f"! is over {WORST}, worse than linear; - is fewer sizes than that"
        figure.supxlabel(f"Slope of the {UPPER_END} largest sizes; {marks}", fontsize=9)
        figure.savefig(written, format="png", dpi=150, facecolor=LIGHT.paper)
    plt.close(figure)
    return written.getvalue()


def _plot(axes: Any, results: Growth, axis: str, name: str, verb: Verb, mine: Sequence[Cell], look: Any) -> None:
    points = [(cell.size, cell.times()[verb]) for cell in mine if verb in cell.times()]
    if points:
        label = f"{name}: {_told(results, axis, name, verb)}"
        line = "--" if name == NO_MEMORY else "-"
        axes.plot(*zip(*points, strict=True), line, color=look.colour, marker=look.mark, label=label)


def _linear(axes: Any) -> None:
    """A dotted line of slope 1 to compare with, through the highest of the points at the largest size of a backend."""
    backends = [line for line in axes.lines if line.get_linestyle() == "-"] or axes.lines
    size, time = max((line.get_xdata()[-1], line.get_ydata()[-1]) for line in backends)
    low, high = axes.get_ylim()
    start = max(min(line.get_xdata()[0] for line in axes.lines), size * low / time)
    axes.plot([start, size], [time * start / size, time], ":", color=GREY, linewidth=1.2, label="linear: 1")
    axes.set_ylim(low, high)


def _lines(results: Growth, axis: str) -> dict[str, list[Cell]]:
    """The cells of each backend along an axis, by rising size."""
    names = dict.fromkeys(cell.backend for cell in results.cells if cell.axis == axis)
    return {name: [c for c in results.cells if (c.axis, c.backend) == (axis, name)] for name in names}


def _told(results: Growth, axis: str, backend: str, verb: Verb) -> str:
    """A slope in words; a dash where there are too few sizes to tell."""
    found = (one for one in results.slopes if (one.axis, one.backend, one.verb) == (axis, backend, verb))
    one = next(found, None)
    # Plus zero: a line that falls by nothing is as level as one that rises by nothing.
    return "-" if one is None else f"{round(one.slope, 2) + 0.0:.2f}{'!' if one.defect else ''}"


def _ms(cell: Cell, verb: Verb) -> str:
    ms = cell.times().get(verb)
    return "" if ms is None else f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}"
