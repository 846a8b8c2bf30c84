"""write_page(): a report's results as pictures and as one HTML page that needs nothing else."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from memstack.measure.sweep import label
from memstack.plugins.writing import write_whole
from memstack_models.evaluation.spread import Interval
from memstack_models.report.conclusions import conclusions, interval_text, percent, times_text
from memstack_models.report.figures import FIGURES, draw
from memstack_models.report.findings import (
    against_exact,
    cost_of,
    disturbed,
    good_enough,
    name_of,
    perplexity_range,
    steps_against_none,
)
from memstack_models.report.layout import NARROW, WIDE
from memstack_models.report.records import Read, Report
from memstack_models.report.style import DARK, LIGHT

Table = tuple[Sequence[str], list[list[str]]]
PAGE = "report.html"
TEMPLATES = Path(__file__).parent / "templates"
CAPTIONS = {
    "recall-speed": "Up and to the right is better. Each mark is one setting of a backend's search space, with "
    "{entries:,} entries in each of {rows} x {heads} memories; the line joins those that no other setting beats, "
    "hollow marks are the settings that one does beat, and a number is the varied option's value. The dotted line is "
    "{target:.0%}.",
    "recall-perplexity": "What a missed neighbour costs the model: the same weights read the same text, only the "
    "search differs. On the left is what that is measured against. The baselines look at no key; this model with its "
    "memory off has learned to lean on a memory, and is no fair opponent: that is a model of the same context and "
    "cache which was trained without one. On the right is what each setting costs against exact search on "
    "the same segments.",
    "times-entries": "Each backend at the first setting that finds {target:.0%} of the neighbours at that size. Below "
    "1 at the right, a backend is cheaper than {exact}; where it is from some number of entries on, and in every "
    "repeat, a tick and the number say so.",
    "step-entries": "Forward, backward, optimiser, search and add, all memories full, in turns with steps of the same "
    "model without a memory. A step in which an index is built again takes longer; that is in the picture of adds.",
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
        results=results, pictures=pictures, conclusions=conclusions(results), disturbed=disturbed(results)
    )
    write_whole(folder / PAGE, html)
    return folder / PAGE


def _picture(name: str, results: Report, folder: Path) -> dict[str, Any]:
    """What the template is told of one picture, which is also written as PNG files, wide and narrow."""
    drawn: dict[str, str] = {}
    for layout, suffix in ((WIDE, ""), (NARROW, "-narrow")):
        light, png = draw(name, results, LIGHT, layout, "svg", "png")
        (dark,) = draw(name, results, DARK, layout, "svg")
        write_whole(folder / f"{name}{suffix}.png", png)
        drawn |= {f"{layout.name}_light": _inline(light), f"{layout.name}_dark": _inline(dark)}
    titles, rows = _table(name, results)
    text = CAPTIONS[name].format_map(dict(results))
    return {"name": name, "title": FIGURES[name][0], "text": text, "titles": titles, "rows": rows, **drawn}


def _inline(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _table(name: str, results: Report) -> Table:
    if name == "recall-perplexity":
        titles = [
            "memory",
            "recall",
            "attention mass",
            "perplexity",
            "range",
            "against exact",
            "range",
            "bits per byte",
        ]
        return titles, [_perplexity_row(results, one) for one in results.perplexity]
    if name == "step-entries":
        rows = [
            [str(step.backend), f"{step.entries:,}", times_text(times)] for step, times in steps_against_none(results)
        ]
        return ["backend", "entries", "times the step without a memory"], rows
    return _sizes_table(results) if name == "times-entries" else _settings_table(results)


def _sizes_table(results: Report) -> Table:
    titles = ["setting", "entries", "recall", "search ms", "add ms", "worst add ms", "fill s", "against exact"]
    return titles, [
        [
            label(point.backend, point.options),
            f"{point.entries:,}",
            f"{point.recall:.4f}",
            _spread(point.search_ms, point.search_repeats_ms),
            *(f"{value:.4g}" for value in (point.add_ms, point.worst_add_ms, point.fill_s)),
            times_text(against_exact(results, point)),
        ]
        for point in good_enough(results)
    ]


def _settings_table(results: Report) -> Table:
    titles = ["setting", "recall", "attention mass", "queries/s", "search ms"]
    return titles, [
        [
            label(point.backend, point.options),
            f"{point.recall:.4f}",
            f"{point.attention_mass_recall:.4f}",
            f"{point.queries_per_s:,.0f}",
            _spread(point.search_ms, point.search_repeats_ms),
        ]
        for point in results.settings
    ]


def _spread(median: float, repeats: Sequence[float] | None) -> str:
    """A time with how far the repeats were from it."""
    off = max((abs(each - median) for each in repeats or ()), default=0.0)
    return f"{median:.4g} ± {off:.2g}" if off else f"{median:.4g}"


def _perplexity_row(results: Report, one: Read) -> list[str]:
    probed = ["" if share is None else f"{share:.4f}" for share in (one.recall, one.attention_mass_recall)]
    cost = cost_of(results, one)
    against = [percent(cost[0]), interval_text(cost[1]) if one.segments else ""] if cost else ["", ""]
    values = [f"{one.perplexity:.4f}", _range_text(perplexity_range(one)), *against, f"{one.bits_per_byte:.4f}"]
    return [label(name_of(one), one.options), *probed, *values]


def _range_text(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.low:.2f} to {interval.high:.2f}"
