"""Where things are in a picture: panels in a row or one below the other, the legend above, notes below, labels between.

Every picture is drawn twice: wide, and narrow for a screen as small as a telephone's, where its letters can be read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from textwrap import wrap
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

NOTE_SIZE, LABEL_SIZE, NAME_SIZE, SMALLEST = 8.5, 9.0, 9.5, 7.7
"""Points of the letters of notes, of labels at marks, of names in a legend, and of those that are too long for it."""
NOTE_LINE, LEGEND_LINE, LETTER, HANDLE = 0.17, 0.24, 0.082, 0.48
"""Inches: a line of notes, a row of a legend, a letter of a name, and what stands before it."""


@dataclass(frozen=True)
class Layout:
    """How wide a picture is, in inches, and whether its panels are side by side."""

    name: str
    width: float
    side_by_side: bool
    columns: int
    """Of a legend, at most."""

    def panels(self, count: int, height: float = 4.0, below: float = 3.3) -> tuple[Figure, list[Axes]]:
        """A figure with so many panels, each of that height side by side, or ``below`` one another of the other one."""
        rows, columns = (1, count) if self.side_by_side else (count, 1)
        size = self.width, height if self.side_by_side else count * min(height, below)
        figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
        return figure, list(axes.flat)


WIDE = Layout("wide", 10.5, True, 7)
NARROW = Layout("narrow", 3.9, False, 3)
LAYOUTS = WIDE, NARROW


def legend_rows(names: Sequence[str], columns: int) -> list[list[str]]:
    """The names in rows as even as can be, so that none is alone in a row."""
    rows = ceil(len(names) / max(1, columns))
    least, longer = divmod(len(names), max(1, rows))
    ends = [row * least + min(row, longer) for row in range(rows + 1)]
    return [list(names[first:end]) for first, end in pairwise(ends)]


def legend_grid(names: Sequence[str], layout: Layout) -> tuple[int, float]:
    """Columns and size of the letters: as many as fit with none alone in a row, unless each has a row to itself."""
    for columns in range(layout.columns, 1, -1):
        size = NAME_SIZE * min(1.0, (layout.width / columns - HANDLE) / (_column(names) - HANDLE))
        if size >= SMALLEST and min(map(len, legend_rows(names, columns)), default=2) > 1:
            return columns, size
    return 1, NAME_SIZE


def _column(names: Sequence[str]) -> float:
    """Inches that the longest name needs, with what stands before and behind it."""
    return HANDLE + LETTER * max(map(len, names), default=0) + 0.1


def finish(figure: Figure, handles: Mapping[str, Any], notes: Sequence[str], layout: Layout) -> None:
    """Make room above the panels for one legend, in equal columns, and below them for notes; write both."""
    names = list(handles)
    columns, size = legend_grid(names, layout)
    rows = legend_rows(names, columns)
    lines = [part for note in notes for part in wrap(note, int(layout.width * 15.5))]
    above, below = len(rows) * LEGEND_LINE + 0.08, len(lines) * NOTE_LINE + 0.08
    height = float(figure.get_size_inches()[1]) + above + below
    figure.set_size_inches(layout.width, height)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, below / height, 1, 1 - (above + below) / height))
    if rows:
        _legend(figure, handles, rows, above / height, size)
    if lines:
        figure.text(0.012, 0.06 / height, "\n".join(lines), fontsize=NOTE_SIZE, va="bottom", ha="left", alpha=0.85)


def _legend(figure: Figure, handles: Mapping[str, Any], rows: list[list[str]], share: float, size: float) -> None:
    """Every name at a place of a grid of equal columns, in the middle of the picture."""
    width = float(figure.get_size_inches()[0])
    count = max(map(len, rows))
    column = min(_column(list(handles)), (width - 0.1) / count)
    axes = figure.add_axes((0, 1 - share, 1, share), label="legend")
    axes.set(xlim=(0, width), ylim=(len(rows), 0))
    axes.axis("off")
    axes.set_in_layout(False)
    for row, names in enumerate(rows):
        for place, name in enumerate(names):
            x = (width - count * column) / 2 + place * column
            axes.add_line(_sample(handles[name], x, row + 0.5))
            axes.text(x + HANDLE - 0.06, row + 0.5, name, fontsize=size, va="center", gid=f"legend-{name}")


def _sample(handle: Any, x: float, y: float) -> Line2D:
    """A short piece of a line with its mark."""
    look: Any = handle
    return Line2D(
        [x, x + 0.16, x + 0.32],
        [y] * 3,
        color=look.get_color(),
        linestyle=look.get_linestyle(),
        marker=look.get_marker(),
        markersize=min(7.0, look.get_markersize()),
        markevery=[1],
        gid="legend",
    )


@dataclass
class Labels:
    """Short texts beside marks, put where they cover neither one another nor a mark."""

    figure: Figure
    _wanted: list[tuple[Axes, str, tuple[float, float], str]] = field(
        default_factory=list[tuple[Axes, str, tuple[float, float], str]]
    )

    def add(self, axes: Axes, text: str, place: tuple[float, float], colour: str) -> None:
        """Ask for a text near a place, in the coordinates of the axes."""
        self._wanted.append((axes, text, place, colour))

    def draw(self) -> None:
        """Write all of them, once everything else of the picture is where it stays."""
        self.figure.draw_without_rendering()
        taken: dict[Axes, list[Bbox]] = {}
        for axes, text, place, colour in self._wanted:
            boxes = taken.setdefault(axes, _obstacles(axes))
            boxes.append(_placed(axes, text, place, colour, boxes))


DIRECTIONS = (7, 6), (7, -6), (-7, 6), (-7, -6), (0, 9), (0, -9), (10, 0), (-10, 0)
OFFSETS = [(far * x, far * y) for far in (1.0, 1.8, 2.8) for x, y in DIRECTIONS]
"""Where a label may stand beside its mark, in points; the first that is free is taken."""


def _placed(axes: Axes, text: str, place: tuple[float, float], colour: str, taken: Sequence[Bbox]) -> Bbox:
    """Write the text at the best of the offsets; returns what it covers."""
    figure: Any = axes.figure
    renderer = figure.canvas.get_renderer()
    note: Any = axes.annotate(
        text, place, (0, 0), textcoords="offset points", color=colour, fontsize=LABEL_SIZE, gid="label"
    )
    note.set_in_layout(False)
    frame = axes.get_window_extent(renderer)
    found: list[tuple[float, int, Bbox]] = []
    for number, offset in enumerate(OFFSETS):
        _move(note, offset)
        box = note.get_window_extent(renderer).padded(1)
        outside = _area(box) - _shared(box, frame)
        found.append((sum(_shared(box, other) for other in taken) + 4 * outside, number, box))
    _, best, box = min(found, key=lambda one: one[:2])
    _move(note, OFFSETS[best])
    return box


def _move(note: Any, offset: tuple[float, float]) -> None:
    note.xyann = offset
    note.set_horizontalalignment("center" if not offset[0] else "left" if offset[0] > 0 else "right")
    note.set_verticalalignment("center" if not offset[1] else "bottom" if offset[1] > 0 else "top")


def _obstacles(axes: Axes) -> list[Bbox]:
    """A small box round every mark, and along every line."""
    boxes: list[Bbox] = []
    for drawn in axes.lines:
        points = drawn.get_transform().transform(drawn.get_xydata())
        size = 5.0 if drawn.get_marker() not in ("None", "", None) else 1.0
        boxes += [_round(x, y, size) for x, y in points]
        for (left, low), (right, high) in pairwise(points):
            steps = min(60, int(max(abs(right - left), abs(high - low)) / 6))
            boxes += [
                _round(left + (right - left) * i / steps, low + (high - low) * i / steps, 1) for i in range(1, steps)
            ]
    return boxes


def _round(x: float, y: float, size: float) -> Bbox:
    return Bbox.from_extents(x - size, y - size, x + size, y + size)


def _area(box: Bbox) -> float:
    return float(box.width * box.height)


def _shared(one: Bbox, other: Bbox) -> float:
    """The area that two boxes share."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return float(max(0.0, width) * max(0.0, height))
