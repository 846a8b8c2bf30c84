"""write_page(): a report's results as pictures and as one HTML page that needs nothing else."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from memstack.measure.sweep import label
from memstack_models.report.conclusions import against_exact, conclusions, good_enough, steps_against_none
from memstack_models.report.figures import FIGURES, draw
from memstack_models.report.records import Read, Report
from memstack_models.report.style import DARK, LIGHT

Table = tuple[Sequence[str], list[list[str]]]
PAGE = "report.html"
TEMPLATES = Path(__file__).parent / "templates"
CAPTIONS = {
    "recall-speed": "Up and to the right is better. Each mark is one setting of a backend's search space, with "
    "{entries:,} entries in each of {rows} x {heads} memories; the line joins those that no other setting beats, and a "
    "number is the varied option's value. The dotted line is {target:.0%}.",
    "recall-perplexity": "What a missed neighbour costs the model: the same weights read the same text, only the "
    "search differs. The baselines look at no key; a search is worth what lies between them and the exact one.",
    "times-entries": "Each backend at the first setting that finds {target:.0%} of the neighbours at that size. Where "
    "a line falls below 1 at the right, the backend is cheaper than {exact}; the numbers are the entries at which it "
    "does.",
    "step-entries": "Forward, backward, optimiser, search and add, all memories full. A step in which an index is "
    "built again takes longer; that is in the picture of adds.",
}
"""What each picture shows, for those who see it first; filled in from the results."""


def write_page(results: Report, folder: Path) -> Path:
    """Draw every picture, as PNG files too, and write the page beside them; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    pictures = [_picture(name, results, folder) for name in FIGURES]
    html = environment.get_template(f"{PAGE}.j2").render(
        results=results, pictures=pictures, conclusions=conclusions(results)
    )
    (folder / PAGE).write_text(html, encoding="utf-8")
    return folder / PAGE


def _picture(name: str, results: Report, folder: Path) -> dict[str, Any]:
    """What the template is told of one picture, which is also written as a PNG file."""
    light, png = draw(name, results, LIGHT, "svg", "png")
    (folder / f"{name}.png").write_bytes(png)
    (dark,) = draw(name, results, DARK, "svg")
    titles, rows = _table(name, results)
    return {
        "name": name,
        "title": FIGURES[name][0],
        "text": CAPTIONS[name].format_map(dict(results)),
        "light": _inline(light),
        "dark": _inline(dark),
        "titles": titles,
        "rows": rows,
    }


def _inline(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _table(name: str, results: Report) -> Table:
    if name == "recall-perplexity":
        titles = ["memory", "recall", "attention mass", "perplexity", "bits per byte"]
        return titles, [_perplexity_row(one) for one in results.perplexity]
    if name == "step-entries":
        rows = [[backend, f"{entries:,}", f"{times:.2f}"] for backend, entries, times in steps_against_none(results)]
        return ["backend", "entries", "times the step without a memory"], rows
    if name == "times-entries":
        titles = ["setting", "entries", "recall", "search ms", "add ms", "worst add ms", "fill s", "against exact"]
        return titles, [
            [
                label(point.backend, point.options),
                f"{point.entries:,}",
                f"{point.recall:.4f}",
                *(f"{value:.4g}" for value in (point.search_ms, point.add_ms, point.worst_add_ms, point.fill_s)),
                f"{against_exact(results, point):.2f}",
            ]
            for point in good_enough(results)
        ]
    titles = ["setting", "recall", "attention mass", "queries/s", "search ms"]
    return titles, [
        [
            label(point.backend, point.options),
            f"{point.recall:.4f}",
            f"{point.attention_mass_recall:.4f}",
            f"{point.queries_per_s:,.0f}",
            f"{point.search_ms:.4g}",
        ]
        for point in results.settings
    ]


def _perplexity_row(one: Read) -> list[str]:
    probed = ["" if share is None else f"{share:.4f}" for share in (one.recall, one.attention_mass_recall)]
    return [label(one.name, one.options), *probed, f"{one.perplexity:.4f}", f"{one.bits_per_byte:.4f}"]
