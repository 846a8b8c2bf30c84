"""What the commands share: where they print, and a progress bar."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

OUT = Console(highlight=False)


def say(text: str) -> None:
    """Print a line as it is: brackets in a path are no markup, and a long line is not broken."""
    OUT.print(text, markup=False, soft_wrap=True)


def progress_bar() -> Progress:
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    return Progress(*columns, console=OUT)
