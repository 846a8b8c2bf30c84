"""A table that fits: its words stay whole and its columns complete, from 60 columns on."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement, measure_renderables
from rich.padding import Padding
from rich.styled import Styled
from rich.table import Table

GAP = 2
"""Columns between two columns: the divider and the padding."""


class FittedTable(Table):
    """A table without an outer frame; where not even its longest words fit side by side, a paragraph for each row."""

    def __init__(self, *titles: str) -> None:
        super().__init__(*titles, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give each column its longest word, and what is left to those that would otherwise wrap."""
        measured = [measure_renderables(console, options, [column.header, *column.cells]) for column in self.columns]
        room = options.max_width - GAP * (len(measured) - 1)
        if sum(each.minimum for each in measured) > room:
            yield from self._paragraphs()
            return
        for column, width in zip(self.columns, fitted_widths(measured, room), strict=True):
            column.width = width
        yield from super().__rich_console__(console, options)

    def _paragraphs(self) -> Iterator[RenderableType]:
        """Every row as its first cell, and below it a line for each other cell."""
        first, *others = self.columns
        if self.title:
            yield self.title
        for index, (row, name) in enumerate(zip(self.rows, first.cells, strict=True)):
            cells = [list(column.cells)[index] for column in others]
            inner = Table.grid(padding=(0, 2, 0, 0))
            for column, cell in zip(others, cells, strict=True):
                inner.add_row(column.header, cell)
            yield Styled(name, row.style or "bold")
            yield Styled(Padding(inner, (0, 0, 0, 2)), row.style or "")


def fitted_widths(measured: Sequence[Measurement], room: int) -> list[int]:
    """Widths between the least and the most of each column, in all no more than ``room``; the widest give way first."""
    most = [each.maximum for each in measured]
    limit = max(most)
    while sum(max(each.minimum, min(each.maximum, limit)) for each in measured) > room:
        limit -= 1
    return [max(each.minimum, min(each.maximum, limit)) for each in measured]
