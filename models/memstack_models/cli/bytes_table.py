"""The table of what a run takes, part by part, beside what there is: of an estimate, and of a run that is refused."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from memstack.cli import console
from memstack_models.training.estimate import EstimateRecord, PartBytes, PlaceBytes


def bytes_table(record: EstimateRecord) -> Table:
    """Parts by place, the whole of each place at its peak, and what it has."""
    least = record.seconds is None
    lines = console.table("part", "what it is", "where", right=["at least" if least else "bytes"])
    lines.title = f"{record.run}: {record.parameters:,} parameters"
    for place, taken in record.places.items():
        inside = [part for part in record.parts if part.place == place]
        _add_place(lines, place, inside, taken, least)
    return lines


def _add_place(lines: Table, place: str, parts: Sequence[PartBytes], taken: PlaceBytes, least: bool) -> None:
    for part in parts:
        known = part.least if least else part.bytes
        lines.add_row(part.name, Text(part.detail), Text(place), "not known" if known is None else sized(known))
    there = "" if taken.there is None else f", where there are {sized(taken.there)}"
    lines.add_row("together", Text(f"at its peak{there}"), Text(place), sized(taken.least if least else taken.bytes))


def sized(count: int) -> str:
    """Bytes as people read them."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.3g} {unit}" if count < 1e15 else f"{count:.3g} bytes"
    return f"{count / 1e3:,.3g} kB"
