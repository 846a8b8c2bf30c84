"""What approximate search costs beside exact search, and what it finds: ``python -m benchmarks.goals.approximate``.

Every bundled backend at its default options, a whole search each, calls in turns in one process: recorded keys, of one
head in each of the shipped checkpoint's memory layers, and drifting keys of one memory, with more entries than were
recorded. Recall counts a neighbour as found that scores as high as a true one. Ten minutes, most of them to fill.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from benchmarks.goals.busy import Watch
from benchmarks.goals.turns import Row, ratio, reported, row, show, times
from benchmarks.suite.common import BUNDLED, Cell
from memstack.cli import console
from memstack.contract.metrics import recall_by_score
from memstack.measure import true_neighbours

GOAL = 0.5
"""Of exact search, at most, for ``bucketed`` at its default recall target, 0.95."""
TURNS = 5
CELLS = {
    "recorded": ({"memories": 2, "queries": 256}, (8192, 65536)),
    "drifting": ({"memories": 1, "queries": 512}, (8192, 65536, 262144)),
}
"""Sizes of ``suite/search.py``, by key set, and the entries of a memory."""


def main(
    backend: Annotated[list[str], typer.Option("--backend", "-b", help="May be repeated.")] = BUNDLED[1:],
    keys: Annotated[list[str], typer.Option(help="recorded or drifting; may be repeated.")] = [*CELLS],  # noqa: B006
    entries: Annotated[int | None, typer.Option(min=1, help="Instead of each key set's own.")] = None,
) -> None:
    """Print what each backend takes of exact search's time, beside the goal, and its recall."""
    if unknown := [*dict.fromkeys(each for each in keys if each not in CELLS)]:
        raise typer.BadParameter(f"--keys {', '.join(unknown)}: name {' or '.join(CELLS)}")
    rows, watch = list[Row](), Watch()
    for key_set in keys:
        sizes, counts = CELLS[key_set]
        for count in [entries] if entries else counts:
            rows += one_size(backend, key_set, count, sizes)
    show(rows)
    watch.tell()


def one_size(backends: list[str], key_set: str, entries: int, sizes: dict[str, int]) -> list[Row]:
    """All backends with memories of one size."""
    calls, found = dict[str, Callable[[], object]](), dict[str, float]()
    for name in ["exact", *backends]:
        cell = Cell(backend=name, key_set=key_set, entries=entries, **sizes)
        try:
            cell.require()
        except NotImplementedError as reason:
            console.OUT.print(f"left out: {reason}")
            continue
        memory, stream = cell.filled()
        queries = stream.queries(cell.queries)
        found[name] = recall_by_score(
            memory.search(queries, cell.k), true_neighbours(memory, queries, cell.k, memory.device)
        )
        calls[name] = partial(memory.search, queries, cell.k)
    taken = times(calls, TURNS, time.perf_counter)  # libraries have threads of their own
    rows = list[Row]()
    for name in [each for each in calls if each != "exact"]:
        reached = ratio(taken, name, "exact")
        what = f"{name} / exact: {entries:,} {key_set} keys, recall {found[name]:.3f}"
        rows.append(row(what, reached, GOAL) if name == "bucketed" else reported(what, reached))
    return rows


if __name__ == "__main__":
    typer.run(main)
