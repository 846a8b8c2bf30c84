"""A progress bar that is also of use in a log: where there is no terminal it prints a line every so often."""

from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeElapsedColumn

EVERY_S = 30.0
"""Seconds between two lines of a log."""


class LoggedProgress(Progress):
    """A bar that goes when it is done; without a terminal, a line of the same numbers, at most every ``EVERY_S``."""

    def __init__(self, console: Console, *, lines: bool, redirect_stdout: bool) -> None:
        columns = MofNCompleteColumn(), BarColumn(16), TimeElapsedColumn(), TextColumn("{task.description}")
        shown = console.is_terminal
        self._lines, self._said = lines and not shown, monotonic()
        super().__init__(*columns, console=console, transient=True, disable=not shown, redirect_stdout=redirect_stdout)

    def update(self, task_id: TaskID, **named: Any) -> None:
        super().update(task_id, **named)
        self._say(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._say(task_id)

    def _say(self, task_id: TaskID) -> None:
        if self._lines and monotonic() - self._said >= EVERY_S:
            self._said = monotonic()
            (task,) = (each for each in self.tasks if each.id == task_id)
            self.console.print(_line(task), markup=False, soft_wrap=True)


def _line(task: Task) -> str:
    whole = "" if task.total is None else f" of {task.total:,.0f}"
    return f"{task.completed:,.0f}{whole} after {task.elapsed or 0:.0f} s: {task.description}"
