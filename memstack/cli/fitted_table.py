"""A table that fits: its words stay whole and its columns complete, from 60 columns on."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement, measure_renderables
from rich.table import Table

GAP = 2
"""Columns between two columns: the divider and the padding."""


class FittedTable(Table):
    """A table without an outer frame; too wide for even its longest words, it goes on below, first column repeated."""

    def __init__(self, *titles: str) -> None:
        super().__init__(*titles, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give each column its longest word, and what is left to those that would otherwise wrap."""
        measured = [measure_renderables(console, options, [column.header, *column.cells]) for column in self.columns]
        bands = list(_bands([each.minimum for each in measured], options.max_width))
        if len(bands) > 1:
            for number, band in enumerate(bands):
                yield from ([""] if number else [self.title] if self.title else [])
                yield self._only(band)
            return
        room = options.max_width - GAP * (len(measured) - 1)
        for column, width in zip(self.columns, fitted_widths(measured, room), strict=True):
            column.width = width
        yield from super().__rich_console__(console, options)

    def _only(self, columns: Sequence[int]) -> "FittedTable":
        """A table of the first column and these."""
        part = FittedTable()
        kept = [self.columns[index] for index in (0, *columns)]
        for column in kept:
            part.add_column(column.header, justify=column.justify)
        for row, *cells in zip(self.rows, *(column.cells for column in kept), strict=True):
            part.add_row(*cells, style=row.style)
        return part


def fitted_widths(measured: Sequence[Measurement], room: int) -> list[int]:
    """Widths between the least and the most of each column, in all no more than ``room``; the widest give way first."""
    limit = max((each.maximum for each in measured), default=0)
    while limit and sum(max(each.minimum, min(each.maximum, limit)) for each in measured) > room:
        limit -= 1
    return [max(each.minimum, min(each.maximum, limit)) for each in measured]


def _bands(least: Sequence[int], width: int) -> Iterator[list[int]]:
    """The columns after the first, in groups that fit beside it; one that fits nowhere is alone with it."""
    group: list[int] = []
    used = least[0]
    for index, own in enumerate(least[1:], start=1):
        if group and used + GAP + own > width:
            yield group
            group, used = [], least[0]
        group.append(index)
        used += GAP + own
    yield group
