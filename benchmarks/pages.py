"""What asv's pages lack: the way to the report, an axis that says something, and tables that need no network.

asv loads this as a plugin (``asv.conf.json``) and calls ``Pages.publish`` when it has written its own pages.
"""

import html
import shutil
from collections.abc import Mapping, Sequence
from itertools import product
from math import isnan
from pathlib import Path
from typing import Any

from asv.console import log
from asv.publishing import OutputPublisher
from asv.results import iter_results
from asv.util import human_value

REPORT = Path(__file__).parent / "report" / "two-cores" / "report.html"
TABLES = "tables.html"
AXES = ("entries", "queries", "memories", "dim")
"""What a benchmark's picture opens on, the first that it varies, rather than on two commits that say nothing."""
GRID = (
    "Each tile is the mean over all backends and sizes, by commit: it shows that something changed, not how fast "
    "anything is. Numbers side by side are in the tables, recall against time is in the report."
)
STYLE = """body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem; color-scheme: light dark; }
table { border-collapse: collapse; margin: .3rem 0 1.4rem; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .8rem .15rem 0; text-align: right; border-bottom: 1px solid #8885; }
th:first-child, td:first-child { text-align: left; }"""

Edits = Sequence[tuple[str, str]]
NAV = '<li id="nav-li-" class="active"><a href="#/">Benchmark grid</a></li>'
SHOWN = '<div id="summarygrid-display" style="position: absolute; left: 0; top: 55px; width: 100%; height: 100%">'
EDITS: Mapping[str, Edits] = {
    "index.html": (
        (
            NAV,
            '<li><a href="report.html">Recall against time: the report</a></li>\n'
            f'        <li><a href="{TABLES}">Tables</a></li>\n        {NAV.replace("Benchmark grid", "Grid of means")}',
        ),
        (SHOWN, f'{SHOWN}\n      <p style="margin: 1em">{GRID}</p>'),
        (
            "<title>airspeed velocity</title>",
            "<title>airspeed velocity</title>\n    <script>\n"
            '      if (!location.hash || location.hash === "#/") { location.hash = "#/summarylist"; }\n    </script>',
        ),
    ),
    "graphdisplay.js": (
        (
            "x_coordinate_axis = 0;\n        if (state_selection['x-axis'] !== undefined &&",
            "x_coordinate_axis = 0;\n"
            f"        if (state_selection['x-axis'] === undefined) {{\n"
            f"            var wanted = {list(AXES)}.filter(function (name) {{ return param_names.includes(name); }});\n"
            "            x_coordinate_axis = wanted.length ? param_names.indexOf(wanted[0]) + 1 : 0;\n"
            "        }\n        else if (",
        ),
        ("var max_curves = 8;", "var max_curves = 48;"),
    ),
    "error.html": (
        (
            "<p>\n      Make sure",
            f'<p>\n      <a href="{TABLES}">The tables</a> and <a href="report.html">the report</a> need no '
            "connection.\n    </p>\n\n    <p>\n      Make sure",
        ),
    ),
}
"""What is replaced in asv's templates, by file; where another asv has other words, a warning says so."""


class Pages(OutputPublisher):
    """Adds to the pages that asv publishes."""

    name = "memstack"
    button_label = "Tables"
    description = "Every result of the newest commit, backends side by side"

    @classmethod
    def publish(cls, conf: Any, repo: Any, benchmarks: Any, graphs: Any, revisions: Any) -> None:
        """Write the tables, bring the report, and lead to both."""
        folder = Path(conf.html_dir)
        (folder / TABLES).write_text(tables(newest(iter_results(conf.results_dir)), benchmarks), encoding="utf-8")
        if REPORT.is_file():
            shutil.copy(REPORT, folder / "report.html")
        for name, edits in EDITS.items():
            edit(folder / name, edits)


def edit(path: Path, edits: Edits) -> None:
    """Replace texts in a file; one that is not there is warned of."""
    text = path.read_text(encoding="utf-8")
    for before, after in edits:
        if before not in text:
            log.warning(f"{path.name} of this asv has other words than {before[:40]!r}: it stays as it is")
        text = text.replace(before, after)
    path.write_text(text, encoding="utf-8")


def newest(results: Any) -> list[Any]:
    """The results of the newest commit of each machine and environment."""
    found: dict[tuple[str, str], Any] = {}
    for each in sorted(results, key=lambda one: one.date):
        found[each.params["machine"], each.env_name] = each
    return list(found.values())


def tables(results: Sequence[Any], benchmarks: Any) -> str:
    """Every benchmark that varies the backend as a table: a row for each backend, a column for each other setting."""
    parts = [f"<!doctype html><html lang='en'><meta charset='utf-8'><title>memstack</title><style>{STYLE}</style>"]
    parts.append("<h1>Backends side by side</h1><p><a href='index.html'>The pictures</a> need a connection: asv loads")
    parts.append(" its scripts from the web. <a href='report.html'>Recall against time</a> is in the report.</p>")
    for each in results:
        parts.append(f"<h2>{html.escape(each.params['machine'])}, commit {html.escape(each.commit_hash[:8])}</h2>")
        parts += [table(each, name, benchmarks[name]) for name in sorted(each.get_result_keys(benchmarks))]
    return "\n".join(parts) + "\n"


def table(result: Any, name: str, benchmark: Mapping[str, Any]) -> str:
    """One benchmark's results; n/a where a cell was skipped."""
    params: list[list[str]] = benchmark["params"]
    values: Any = result.get_result_value(name, params)
    cells = dict(zip(product(*params), values if isinstance(values, list) else [values], strict=True))
    rows, columns = (params[0], list(product(*params[1:]))) if params else ([""], [()])
    head = [" x ".join(benchmark["param_names"]), *(", ".join(map(_plain, column)) for column in columns)]
    lines = [_row("th", head)]
    for row in rows:
        keys = [(row, *column) if params else () for column in columns]
        lines.append(_row("td", [_plain(row), *(_value(cells[key], benchmark["unit"]) for key in keys)]))
    unit = html.escape(benchmark["unit"])
    return f"<h3>{html.escape(name)}</h3><p>{unit}</p><table>{''.join(lines)}</table>"


def _row(cell: str, texts: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{cell}>{html.escape(text)}</{cell}>' for text in texts)}</tr>"


def _plain(param: str) -> str:
    """A parameter without the quotes that asv keeps of a text."""
    return param.strip("'")


def _value(value: float | None, unit: str) -> str:
    if value is None or isnan(value):
        return "n/a"
    return human_value(value, unit) if unit in ("seconds", "bytes") else f"{value:.4g}"
