"""Tables as CSV, Markdown and LaTeX: whatever a cell holds, it comes through."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memstack_models.evaluation.formats import Format, formatted
from rich.text import Text

from memstack.cli import console

CELLS = st.lists(st.tuples(st.text(max_size=8), st.text("0123456789.", max_size=5)), max_size=4)


@given(CELLS)
@settings(deadline=None)
def test_csv_holds_any_cell(cells: list[tuple[str, str]]) -> None:
    table = console.table("name", right=["number"])
    for name, number in cells:
        table.add_row(Text(name), number)
    plain = [[Text(name).plain, number] for name, number in cells]
    assert list(csv.reader(io.StringIO(formatted(table, Format.CSV), newline=""))) == [["name", "number"], *plain]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Format.MARKDOWN, "| run | gain |\n| --- | ---: |\n| a_b\\|c | +1 % |\n"),
        (
            Format.LATEX,
            "\\begin{tabular}{lr}\n\\hline\nrun & gain \\\\\n\\hline\na\\_b|c & +1 \\% \\\\\n\\hline\n\\end{tabular}\n",
        ),
    ],
)
def test_what_a_format_reads_is_escaped(how: Format, expected: str) -> None:
    table = console.table("run", right=["gain"])
    table.add_row(Text("a_b|c"), "+1 %")
    assert formatted(table, how) == expected
