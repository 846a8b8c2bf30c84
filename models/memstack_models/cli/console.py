"""What the commands share: where they print, a progress bar, numbers as JSON."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

OUT = Console(highlight=False)


def say(text: str) -> None:
    """Print a line as it is: brackets in a path are no markup, and a long line is not broken."""
    OUT.print(text, markup=False, soft_wrap=True)


def write_json(path: Path, numbers: Any) -> None:
    """Write plain numbers, making the folder they go to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


def progress_bar() -> Progress:
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    return Progress(*columns, console=OUT)
