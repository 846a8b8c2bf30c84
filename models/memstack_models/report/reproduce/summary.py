"""A table's numbers over its seeds, and the published ones in the same form."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean, stdev

from memstack_models.report.reproduce.grid import Cell, Grid
from memstack_models.report.reproduce.making import NONE
from memstack_models.report.reproduce.records import CellOutcome, Outcome, ReproduceRecord
from memstack_models.report.style import short


@dataclass(frozen=True)
class Mean:
    """A number over seeds."""

    value: float
    low: float
    high: float
    """One standard deviation about the mean of several seeds; nineteen of twenty draws of the text, of a single one."""
    seeds: int

    @property
    def spread(self) -> float:
        """Half of what lies between."""
        return (self.high - self.low) / 2

    @property
    def says_nothing(self) -> bool:
        """Whether no difference may be all there is."""
        return self.low <= 0 <= self.high


def outcomes(record: ReproduceRecord, corpus: str, cell: str) -> list[CellOutcome]:
    """Return what came of a cell on a corpus, one of each seed."""
    return [each for each in record.cells if (each.corpus, each.cell) == (corpus, cell)]


def labels(record: ReproduceRecord, cell: str) -> list[str]:
    """Return what a cell was read with, whatever the corpus, in order."""
    found = (reading.label for each in record.cells if each.cell == cell for reading in each.readings)
    return list(dict.fromkeys(found))


def read(record: ReproduceRecord, corpus: str, cell: str, label: str) -> list[Outcome]:
    """Return a cell's readings with a memory that were made, one of each seed."""
    found = [each for one in outcomes(record, corpus, cell) for each in one.readings if each.label == label]
    return [each for each in found if each.perplexity is not None]


def change(record: ReproduceRecord, corpus: str, cell: str, label: str) -> Mean | None:
    """Return perplexity against the fair opponent's, less one; None where there is no such reading, or no opponent."""
    found = [each for each in read(record, corpus, cell, label) if each.change is not None]
    ranges = [(each.low, each.high) for each in found if each.low is not None and each.high is not None]
    return _mean([each.change for each in found if each.change is not None], ranges)


def perplexity(record: ReproduceRecord, corpus: str, cell: str, label: str) -> Mean | None:
    """Return the perplexity of the whole text."""
    return _mean([each.perplexity for each in read(record, corpus, cell, label) if each.perplexity is not None], [])


def published(grid: Grid, corpus: str, cell: str, label: str) -> float | None:
    """Return the paper's perplexity."""
    return grid.cell(cell).published.get(key_of(label), {}).get(corpus)


def published_change(grid: Grid, corpus: str, cell: str, label: str) -> float | None:
    """Return the paper's perplexity against that of the same opponent, less one."""
    value, other = published(grid, corpus, cell, label), _published_opponent(grid, grid.cell(cell), corpus)
    return value / other - 1 if value is not None and other is not None else None


def left_out(record: ReproduceRecord) -> Iterator[tuple[str, str]]:
    """Yield what was not read and why, once whatever the seed."""
    found = [
        (f"{each.corpus} {each.cell} read with {named(reading.label)}", reading.left_out)
        for each in record.cells
        for reading in each.readings
        if reading.left_out
    ]
    yield from dict(found).items()


def own_label(cell: Cell) -> str:
    """Return what a cell is called as it reads with the memory that it was trained with."""
    return str(cell.memory) if cell.memory else NONE


def named(label: str) -> str:
    """Return a memory as a table names it: ``8k`` of 8,192 entries."""
    return short(int(label)) if label.isdigit() else label


def key_of(label: str) -> str:
    """Return what a grid's published figures call it."""
    return "0" if label == NONE else label


def percent(value: float, digits: int = 1) -> str:
    """Return a share with its sign: ``-11.2 %``; never a zero below 0."""
    return f"{100 * value:+.{digits}f} %".replace(f"-{0:.{digits}f}", f"+{0:.{digits}f}")


def percent_of(found: Mean | None) -> str:
    """Return a change with its spread; empty where there is none."""
    if found is None:
        return ""
    return f"{percent(found.value)}" + (f" ± {100 * found.spread:.1f}" if found.spread else "")


def _published_opponent(grid: Grid, cell: Cell, corpus: str) -> float | None:
    """The paper's figure of the opponent or, where that was only trained longer, of what it began from."""
    name = cell.against
    while name:
        opponent = grid.cell(name)
        if (value := opponent.published.get("0", {}).get(corpus)) is not None:
            return value
        name = opponent.start
    return None


def _mean(values: list[float], ranges: list[tuple[float, float]]) -> Mean | None:
    if not values:
        return None
    middle = mean(values)
    if len(values) > 1:
        off = stdev(values)
        return Mean(middle, middle - off, middle + off, len(values))
    low, high = ranges[0] if ranges else (middle, middle)
    return Mean(middle, low, high, 1)
