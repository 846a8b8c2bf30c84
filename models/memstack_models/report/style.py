"""What all pictures share: ink and paper, and a colour, a mark and a line for every backend."""

import hashlib
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl

# Told apart by people who see fewer colours, and on white as on black: tests/models/report/test_colours.py.
COLOURS = (
    *("#989507", "#ba1fd1", "#147768", "#04a649", "#7383c1", "#7d29fb"),
    *("#5e6533", "#925908", "#c67f9b", "#e701aa", "#4e88fe", "#db046c"),
)
MARKS = "o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h", "d"
LINES: tuple[Any, ...] = "-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5))
"""Without gaps, dashes, dots, dashes and dots."""
EXACT_MARK = "o"


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
    line: Any = "-"


def series_styles(names: Iterable[str], ink: str) -> dict[str, SeriesStyle]:
    """Give each backend colour, mark and line by its name, so that it keeps them from one report to the next.

    The first name is the exact search's, drawn in ink. Of two names that come upon one colour the later takes the next.
    Beyond as many as there are colours, a colour comes again with another mark and line.
    """
    first, *others = names
    found = {first: SeriesStyle(ink, EXACT_MARK)}
    free = set(range(len(COLOURS)))
    for number, name in enumerate(sorted(others)):
        free = free or set(range(len(COLOURS)))
        wanted = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
        place = next(p for i in range(len(COLOURS)) if (p := (wanted + i) % len(COLOURS)) in free)
        free.remove(place)
        found[name] = _style(place, number // len(COLOURS))
    return found


def _style(place: int, again: int) -> SeriesStyle:
    mark = MARKS[1 + (place + again) % (len(MARKS) - 1)]
    return SeriesStyle(COLOURS[place], mark, LINES[(place + again) % len(LINES)])


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
