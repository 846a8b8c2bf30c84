"""Tables as text that other programs read: CSV, Markdown, LaTeX."""

import csv
import io
import re
from collections.abc import Sequence
from enum import StrEnum

from rich.table import Table
from rich.text import Text

SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    each: rf"\{each}" for each in "&%$#_{}"
}
"""What LaTeX would not print."""


class Format(StrEnum):
    """How a table is printed."""

    TABLE = "table"
    CSV = "csv"
    MARKDOWN = "markdown"
    LATEX = "latex"


def formatted(table: Table, how: Format) -> str:
    """Return a table as text for other programs: its titles, then a line for each of its rows."""
    lines = [[_plain(column.header) for column in table.columns]]
    lines += [
        list(row) for row in zip(*([_plain(cell) for cell in column.cells] for column in table.columns), strict=True)
    ]
    right = [column.justify == "right" for column in table.columns]
    if how == Format.CSV:
        return _csv(lines)
    return _latex(lines, right) if how == Format.LATEX else _markdown(lines, right)


def _plain(cell: object) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)


def _csv(lines: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _markdown(lines: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    titles, *rows = [[cell.replace("|", r"\|") for cell in line] for line in lines]
    rule = ["---:" if each else "---" for each in right]
    return "".join(f"| {' | '.join(line)} |\n" for line in (titles, rule, *rows))


def _latex(lines: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    titles, *rows = [" & ".join(re.sub(r"[\\~^&%$#_{}]", _escaped, cell) for cell in line) + r" \\" for line in lines]
    columns = "".join("r" if each else "l" for each in right)
    begin, end = rf"\begin{{tabular}}{{{columns}}}", r"\end{tabular}"
    return "\n".join([begin, r"\hline", titles, r"\hline", *rows, r"\hline", end]) + "\n"


def _escaped(found: "re.Match[str]") -> str:
    return SPECIAL[found[0]]
