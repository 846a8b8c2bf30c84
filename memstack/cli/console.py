"""What the command line shows: tables that look alike, and a bar while it works."""

from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table


def table(*titles: str, right: Sequence[str] = ()) -> Table:
    """An empty table that looks like all the others: without an outer frame, so that more fits into 80 columns."""
    made = Table(*titles, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for title in right:
        made.add_column(title, justify="right")
    return made


def followed(names: Iterable[str], doing: str, console: Console) -> Iterator[str]:
    """Yield the names while a bar on a terminal shows which one is being worked on; elsewhere nothing is shown."""
    columns = MofNCompleteColumn(), BarColumn(16), TextColumn("{task.description}")
    names = list(names)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(doing, total=len(names))
        for name in names:
            progress.update(task, description=f"{doing} {name}")
            yield name
            progress.advance(task)
