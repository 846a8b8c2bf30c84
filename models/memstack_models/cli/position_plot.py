"""Perplexity by position in the document, drawn: a step for each stretch, a mark that none of the others hides."""

import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memstack import ConfigError, MemstackError
from memstack_models.evaluation.losses import write_bytes
from memstack_models.evaluation.runs import start_of, stretch_titles

FORMATS = (".png", ".svg", ".pdf")
DODGE = 0.6
"""How far marks are spread within their stretch, whose width is 1."""


def check_picture(path: Path) -> Path:
    """Return the path; an error if its name is of no format that is drawn, if it is a folder, or without matplotlib."""
    if path.suffix not in FORMATS or path.is_dir():
        what = "is a folder" if path.is_dir() else f"ends in {path.suffix or 'nothing'}"
        raise ConfigError(f"--plot {path} {what}; name a file that ends in {' or '.join(FORMATS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise MemstackError("--plot draws with matplotlib: pip install 'memstack[plots]'")
    return path


def draw(by_position: Mapping[str, Mapping[str, float]], path: Path, title: str) -> None:
    """Draw the perplexity of each stretch, a line for each name; the file is there whole or not."""
    import matplotlib.pyplot as plt

    from memstack_models.report.style import LIGHT, series_styles, themed

    stretches = stretch_titles(list(by_position.values()))
    with themed(LIGHT):
        figure, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained", facecolor=LIGHT.paper)
        styles = series_styles(by_position, LIGHT.ink)
        for number, (name, places) in enumerate(by_position.items()):
            values = {start_of(stretch): value for stretch, value in places.items()}
            offset = DODGE * ((number + 0.5) / len(by_position) - 0.5)
            drawn = [(place, values[start]) for place, start in enumerate(stretches) if start in values]
            style: dict[str, Any] = {"color": styles[name].colour, "linestyle": "--" if number == 0 else "-"}
            for place, value in drawn:
                axes.hlines(value, place - 0.5, place + 0.5, linewidth=1, **style)
            marks = [place + offset for place, _ in drawn], [value for _, value in drawn]
            axes.plot(*marks, styles[name].mark, color=styles[name].colour, label=name)
        axes.set_xticks(range(len(stretches)), list(stretches.values()))
        axes.set_xlabel("position in the document (tokens; every stretch as wide as the others)")
        axes.set_ylabel("perplexity per token")
        axes.set_title(title)
        axes.set_ylim(bottom=0)
        axes.grid(visible=False, axis="x")
        axes.legend()
        content = io.BytesIO()
        figure.savefig(content, format=path.suffix[1:], dpi=150)
        plt.close(figure)
    write_bytes(path, content.getvalue())
