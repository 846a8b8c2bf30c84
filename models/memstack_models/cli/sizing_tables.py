"""The tables of ``memstack estimate --entries``: what stores take, and the unit costs that it is made from."""

from collections.abc import Callable, Iterator

from rich.table import Table
from rich.text import Text

from memstack.cli import console
from memstack_models.cli.bytes_table import sized
from memstack_models.training.sizing.records import Once, SizingRecord, Timed, Way
from memstack_models.training.sizing.store import Asked

NOTHING = "-"
UNITS = (("days", 86400.0, 172800.0), ("h", 3600.0, 7200.0), ("min", 60.0, 120.0), ("s", 1.0, 0.1))
"""Of times: what a unit is called, its seconds, and from how many on it is used."""


def sizes_table(record: SizingRecord) -> Table:
    """A column for each size and way, a row for each thing that it takes."""
    columns = [(size.entries, way) for size in record.sizes for way in size.ways]
    titles = [f"{count(entries)}, {placed(way)}" for entries, way in columns]
    lines = console.table("", right=titles)
    lines.title = described(record.asked)
    for name, told in {**HELD, **TIMED}.items():
        lines.add_row(name, *(told(way) for _, way in columns))
    return lines


def costs_table(record: SizingRecord) -> Table:
    """Every unit cost, and where it comes from."""
    lines = console.table("unit cost", right=["value"])
    for title in ("unit", "origin", "source"):
        lines.add_column(title)
    for name, cost in record.costs.items():
        lines.add_row(name, count(cost.value), cost.unit, cost.origin, Text(cost.source))
    return lines


def notes(record: SizingRecord) -> Iterator[str]:
    """What fits not, and why; and what nobody has run."""
    for size in record.sizes:
        yield from (
            f"{count(size.entries)} entries, {placed(way)}: {'' if way.fits else 'does not fit: '}{way.why}"
            for way in size.ways
        )
    yield from (f"never run: {each}" for each in record.never_run)


def described(asked: Asked) -> str:
    """What was asked for, in words."""
    heads = "a store" if asked.heads == 1 else f"{asked.heads:,} stores"
    return (
        f"{heads} of {asked.key_dim} + {asked.value_dim} numbers an entry, {asked.dtype}; {asked.ranks:,} ranks with "
        f"{asked.queries:,} queries each a step, {asked.neighbours} neighbours"
    )


def count(number: float) -> str:
    """A number of entries, say: 1e9 where that is all of it, 65,536 where it is not."""
    mantissa, _, exponent = f"{number:.2e}".partition("e")
    exact = number >= 10**6 and float(f"{mantissa}e{exponent}") == number
    return f"{float(mantissa):g}e{int(exponent)}" if exact else f"{number:,.10g}"


def placed(way: Way) -> str:
    """Where it is held."""
    return f"{way.places:,} {way.name}" if way.name == "GPUs" else f"{way.name} of {way.places:,}"


def elapsed(seconds: float) -> str:
    """A time as people read it."""
    name, unit = next(((name, unit) for name, unit, least in UNITS if seconds >= least), ("ms", 1e-3))
    return f"{short_number(seconds / unit)} {name}"


def short_number(number: float) -> str:
    """A number with some three figures, and none of it with an exponent."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}" if number >= 0.01 else f"{number:.1g}"


def _searched(timed: Timed) -> str:
    least, most = map(elapsed, timed.search_s)
    return least if least == most else f"{least} to {most}"


def _once(done: Once | None) -> str:
    return NOTHING if done is None else f"{short_number(done.core_hours)} ({elapsed(3600 * done.hours)})"


def _dollars(amount: float) -> str:
    return f"{amount:,.0f} USD" if amount >= 10 else f"{amount:.2g} USD"


def _bytes(taken: int) -> str:
    return sized(taken) if taken else NOTHING


def _if_it_fits(told: Callable[[Timed], str]) -> Callable[[Way], str]:
    return lambda way: NOTHING if way.timed is None else told(way.timed)


HELD: dict[str, Callable[[Way], str]] = {
    "fits": lambda way: "yes" if way.fits else "no",
    "search": lambda way: "exact" if way.exact else "approximate",
    "in memory, all copies": lambda way: _bytes(way.bytes),
    "of it each GPU or node": lambda way: _bytes(way.place_bytes),
    "beside a GPU, its machine": lambda way: _bytes(way.host_bytes),
    "on disk": lambda way: _bytes(way.disk_bytes),
    "received by a rank in a step": lambda way: _bytes(way.traffic_bytes),
}
TIMED: dict[str, Callable[[Way], str]] = {
    "load, core-hours (by the clock)": _if_it_fits(lambda timed: _once(timed.load)),
    "index, core-hours (by the clock)": _if_it_fits(lambda timed: _once(timed.index)),
    "search of a step": _if_it_fits(_searched),
    "of it a rank's own core": _if_it_fits(lambda timed: elapsed(timed.client_s) if timed.client_s else NOTHING),
    "load and index, once": _if_it_fits(lambda timed: _dollars(timed.once)),
    "hold, a month": _if_it_fits(lambda timed: _dollars(timed.month)),
    "search, 1,000 steps": _if_it_fits(lambda timed: _dollars(timed.thousand_steps)),
}
