"""Axes that can be read: sizes, recall, times, perplexity; and error bars."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from memstack_models.report.style import SeriesStyle, plain, short

FULL_RECALL = 0.003
SPANS = 4
"""How many times its noise an axis of perplexity spans at least."""
STRETCHED = "The axis of recall is stretched towards 100 %, where settings differ by little."
Range = tuple[float, float]


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
    """A logarithmic y axis with ticks at 1, 2 and 5, written as plain numbers; linear if nothing is above 0."""
    axes.set_ylabel(label)
    if not any((np.asarray(each.get_ydata(), float) > 0).any() for each in axes.lines):
        return
    axes.set_yscale("log")
    axes.margins(y=0.08)
    low, high = axes.get_ylim()
    # Over many decades 1, 2 and 5 would be crowded.
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if high < 2e3 * low else (1,), numticks=30))
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.yaxis.set_minor_formatter(NullFormatter())


def honest_axis(axes: Axes, values: Sequence[float], noise: float, label: str) -> bool:
    """A linear y axis that never zooms in below the noise: it spans several times that. True if it had to be widened.

    ``noise`` is the width of the interval in which a value may lie.
    """
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    span = 1.24 * (high - low)
    wanted = max(span, SPANS * noise)
    middle = (low + high) / 2
    if wanted:  # of a single value whose noise is unknown matplotlib's own range is as good as any
        axes.set_ylim(middle - wanted / 2, middle + wanted / 2)
    axes.yaxis.set_major_locator(MaxNLocator(7))
    axes.set_ylabel(label)
    return wanted > span


def error_bars(
    axes: Axes, places: Sequence[float], values: Sequence[float], ranges: Sequence[Range], style: SeriesStyle
) -> None:
    """Bars from the least to the most of what was measured, in the colour of their line; nothing where that is one."""
    off = [
        [max(0.0, value - low) for value, (low, _) in zip(values, ranges, strict=True)],
        [max(0.0, high - value) for value, (_, high) in zip(values, ranges, strict=True)],
    ]
    if any(map(any, off)):
        axes.errorbar(places, values, off, fmt="none", ecolor=style.colour, elinewidth=1.1, capsize=2, alpha=0.75)


def line(axes: Axes, places: Sequence[float], values: Sequence[float], style: SeriesStyle, **more: Any) -> Any:
    """One backend's line with its marks; returns what a legend shows."""
    given: dict[str, Any] = {"color": style.colour, "marker": style.mark, "linestyle": style.line} | more
    (drawn,) = axes.plot(places, values, **given)
    return drawn


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
