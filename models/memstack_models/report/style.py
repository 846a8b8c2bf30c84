"""What all pictures of a report share: one colour and mark per backend, axes that can be read, light and dark."""

import hashlib
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

# Told apart by people who see fewer colours (after Okabe and Ito), and readable on white and on black.
COLOURS = "#d95f02", "#1b9e77", "#5b8ff9", "#e7298a", "#8a9a1d", "#9467bd", "#17a2b8", "#c69214"
FULL_RECALL = 0.003
MARKS = "o", "s", "^", "D", "v", "P", "X", "*"


@dataclass(frozen=True)
class Theme:
    """Ink on paper; the paper shows through in the page."""

    ink: str
    faint: str
    paper: str


LIGHT, DARK = Theme("#24292f", "#d0d7de", "#ffffff"), Theme("#e6edf3", "#3d444d", "#0d1117")


@dataclass(frozen=True)
class SeriesStyle:
    """How one backend is drawn, in every picture."""

    colour: str
    mark: str


def series_styles(names: Iterable[str], ink: str) -> dict[str, SeriesStyle]:
    """Give each backend colour and mark by its name, so that it keeps them from one report to the next.

    The first name is the exact search's, drawn in ink. Of two names that come upon one colour the later takes the next.
    """
    first, *others = names
    found = {first: SeriesStyle(ink, "o")}
    free = set(range(len(COLOURS)))
    for name in sorted(others):
        free = free or set(range(len(COLOURS)))
        wanted = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
        place = next(p for i in range(len(COLOURS)) if (p := (wanted + i) % len(COLOURS)) in free)
        free.remove(place)
        found[name] = SeriesStyle(COLOURS[place], MARKS[place])
    return found


@contextmanager
def themed(theme: Theme) -> Generator[None, None, None]:
    """Draw with this ink on no paper."""
    ink = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), theme.ink)
    settings: Any = {
        **ink,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "grid.color": theme.faint,
        "axes.grid": True,
        "axes.grid.which": "major",
        "grid.linewidth": 0.7,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 10,
        "axes.titlesize": 11,
        "lines.markersize": 5.5,
        "lines.linewidth": 1.6,
        "legend.frameon": False,
        # The same picture gives the same bytes.
        "svg.hashsalt": "memstack",
    }
    with mpl.rc_context(settings):
        yield


def panels(count: int, height: float = 4.2) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels side by side."""
    figure, axes = plt.subplots(1, count, figsize=(10.5, height), layout="constrained", squeeze=False)
    return figure, list(axes[0])


def sizes_axis(axes: Axes, sizes: Iterable[int], label: str) -> None:
    """A logarithmic x axis with a tick at each size, written as 1k, 64k, 1M."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(sizes))))
    axes.xaxis.set_major_formatter(FuncFormatter(_short))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(label)


def recall_axis(axes: Axes, least: float, gap: float = 0.1) -> None:
    """An x axis of recall that is the wider the nearer it comes to 100 %, where settings differ by little.

    Ticks keep a distance of ``gap``, in widths of the axis.
    """
    left, right = _stretched(min(least, 0.98)), _stretched(1.0)
    width = right - left
    axes.set_xscale("function", functions=(_stretched, _unstretched))
    axes.set_xlim(_unstretched(left - 0.04 * width), _unstretched(right + 0.02 * width))
    ticks: list[float] = []
    for tick in (1, 0.995, 0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.5, 0.25, 0):
        if not ticks or left - 0.04 * width <= _stretched(tick) <= _stretched(ticks[-1]) - gap * width:
            ticks.append(tick)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(_per_cent))
    axes.set_xlabel("recall: share of the true neighbours found")


def log_axis(axes: Axes, label: str) -> None:
    """A logarithmic y axis with ticks at 1, 2 and 5, written as plain numbers."""
    axes.set_yscale("log")
    axes.margins(y=0.08)
    low, high = axes.get_ylim()
    # Over many decades 1, 2 and 5 would be crowded.
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if high < 2e3 * low else (1,), numticks=30))
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel(label)


def legend_above(figure: Figure, handles: Mapping[str, Any]) -> None:
    """One legend for all panels, above them."""
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=min(6, len(handles)))


def short(size: float) -> str:
    """A number of entries as 512, 64k or 1M, in powers of two."""
    for unit, letter in ((1 << 20, "M"), (1 << 10, "k")):
        if size >= unit:
            return f"{size / unit:.3g}{letter}"
    return f"{size:.3g}"


def plain(value: float) -> str:
    """A number without an exponent: 0.05, 20, 3k, 2M."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}"


def _stretched(recall: Any) -> Any:
    # The constant keeps a recall of 1 at a finite place.
    return -np.log10(np.maximum(1 + FULL_RECALL - recall, 1e-9))


def _unstretched(place: Any) -> Any:
    return 1 + FULL_RECALL - 10 ** (-np.asarray(place, float))


def _per_cent(share: float, _: int | None = None) -> str:
    return f"{100 * share:g}%"


def _short(size: float, _: int | None = None) -> str:
    return short(size)


def _plain(value: float, _: int | None = None) -> str:
    return plain(value)
