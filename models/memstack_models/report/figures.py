"""The pictures of a report, each a function of its findings, by name; and draw(), which makes files of one."""

import io
from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from memstack_models.report.findings import backend_names
from memstack_models.report.layout import Layout
from memstack_models.report.perplexity_figures import perplexity_against_recall
from memstack_models.report.records import Measured
from memstack_models.report.style import SeriesStyle, Theme, series_styles, themed
from memstack_models.report.time_figures import recall_against_speed, step_against_entries, times_against_entries

Draw = Callable[[Measured, Mapping[str, SeriesStyle], Layout], Figure]

FIGURES: Mapping[str, tuple[str, Draw]] = {
    "recall-speed": ("Recall against speed", recall_against_speed),
    "recall-perplexity": ("Perplexity against recall", perplexity_against_recall),
    "times-entries": ("Search and add against entries", times_against_entries),
    "step-entries": ("A training step against entries", step_against_entries),
}
"""Title and function of every picture, by the name of its file."""


def draw(name: str, results: Measured, theme: Theme, layout: Layout, *kinds: str) -> list[bytes]:
    """Draw one of ``FIGURES`` as files of these kinds: png on the theme's paper, svg through which the page's shows."""
    with themed(theme):
        figure = FIGURES[name][1](results, series_styles(backend_names(results), theme.ink), layout)
        files = [picture_file(figure, theme, kind) for kind in kinds]
    plt.close(figure)
    return files


def picture_file(figure: Figure, theme: Theme, kind: str) -> bytes:
    """The figure as the bytes of a file; the same figure gives the same bytes."""
    written = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else None
    paper = "none" if kind == "svg" else theme.paper
    figure.savefig(written, format=kind, dpi=150, facecolor=paper, metadata=metadata)
    return written.getvalue()
