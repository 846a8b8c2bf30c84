"""Perplexity by position in the document, drawn into a file."""

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path

from memstack import ConfigError, MemstackError
from memstack.plugins.writing import write_whole
from memstack_models.report.positions import OpponentRecord, PositionLine

FORMATS = (".png", ".svg", ".pdf")


def check_picture(path: Path) -> Path:
    """Return the path; an error if its name is of no format that is drawn, if it is a folder, or without matplotlib."""
    if path.suffix not in FORMATS or path.is_dir():
        what = "is a folder" if path.is_dir() else f"ends in {path.suffix or 'nothing'}"
        raise ConfigError(f"--plot {path} {what}; name a file that ends in {' or '.join(FORMATS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise MemstackError("--plot draws with matplotlib: pip install 'memstack[plots]'")
    return path


def draw(lines: Sequence[PositionLine], path: Path, title: str = "", level: OpponentRecord | None = None) -> None:
    """Draw the perplexity of each stretch, a line for each memory; the file is there whole or not."""
    _draw(lines, path, "wide", title, level)


def draw_both(lines: Sequence[PositionLine], path: Path, level: OpponentRecord | None = None) -> None:
    """Draw them, and beside that for small screens: ``report.png`` and ``report-narrow.png``."""
    _draw(lines, path, "wide", "", level)
    _draw(lines, path.with_stem(f"{path.stem}-narrow"), "narrow", "", level)


def _draw(lines: Sequence[PositionLine], path: Path, layout: str, title: str, level: OpponentRecord | None) -> None:
    import matplotlib.pyplot as plt

    from memstack_models.report.layout import LAYOUTS
    from memstack_models.report.position_figure import perplexity_by_position
    from memstack_models.report.style import LIGHT, themed

    content = io.BytesIO()
    with themed(LIGHT):
        chosen = next(each for each in LAYOUTS if each.name == layout)
        figure = perplexity_by_position(lines, LIGHT.ink, chosen, level, title)
        figure.savefig(content, format=path.suffix[1:], dpi=150, facecolor=LIGHT.paper)
    plt.close(figure)
    write_whole(path, content.getvalue())
