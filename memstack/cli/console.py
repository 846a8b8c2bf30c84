"""The one console of the command line: where it prints, its tables, its progress, its JSON; for plugins' commands too.

from memstack.cli import console

def my_command(json_: console.JsonFile = None) -> None:
    lines = console.table("backend", right=["recall"])
    lines.add_row("exact", "1.000")
    console.OUT.print(lines)
    console.write_record(json_, MyRecord(recall=1.0))
"""

import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EBADF
from io import TextIOWrapper
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from memstack.cli.fitted_table import FittedTable
from memstack.cli.logged_progress import LoggedProgress
from memstack.plugins.records import Record

_LOG_WIDTH = 240
"""Where there is no terminal, so that no line of a log is cut or broken."""
STDOUT = Path("-")


class _Output(Console):
    """A console for people, logs and pipes, which ends nothing: where it cannot write any more, it falls silent.

    So a training goes on when its reader goes away, as ``head`` does, when the disk of its log is full, or when its
    terminal is closed. Of all but a reader that went away ``exit_code`` tells at the end.
    """

    is_result = True
    """Whether a command has failed that could not print all."""

    def __init__(self, *, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        # There is none in a program without a console, or after ``>&-``.
        terminal = stream is not None and stream.isatty()  # pyright: ignore[reportUnnecessaryComparison]
        width = None if terminal or "COLUMNS" in os.environ else _LOG_WIDTH
        # Neither numbers nor words between colons are to be decorated.
        super().__init__(stderr=stderr, width=width, highlight=False, emoji=False)

    def _check_buffer(self) -> None:
        """Write what has been printed; rich calls it for every line, bar and table."""
        try:
            super()._check_buffer()
        except OSError as error:
            self._fall_silent(error)
        except ValueError as error:  # as a file that somebody has closed says
            if not self.file.closed:
                raise
            self._fall_silent(OSError(EBADF, str(error)))

    def on_broken_pipe(self) -> None:
        """Fall silent: the command goes on and ends with the exit code that it would have had."""
        self._fall_silent(None)

    def drain(self) -> None:
        """Write what the stream still holds back, whoever printed it."""
        try:
            self.file.flush()
        except BrokenPipeError:
            self._fall_silent(None)
        except (OSError, ValueError) as error:
            self._fall_silent(error if isinstance(error, OSError) else None)

    def _fall_silent(self, error: OSError | None) -> None:
        self.quiet = True
        if error is not None and not self.stderr:
            _LOST.append(error)
        with suppress(OSError, ValueError):  # no stream of the system's
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.file.fileno())  # what is buffered is flushed there when Python ends
            os.close(nowhere)

    @contextmanager
    def instead(self) -> Generator[None, None, None]:
        """For what another console prints to this one's stream, as help is: it ends nothing either."""
        try:
            yield
        except BrokenPipeError:
            self._fall_silent(None)
        except OSError as error:
            self._fall_silent(error)
        except SystemExit:  # rich's answer to a reader that went away
            self._fall_silent(None)

    def become(self, other: "_Output") -> Callable[[], None]:
        """Print where ``other`` prints; returns what undoes that."""
        before = self.stderr, self._width, self._color_system
        self.stderr, self._width, self._color_system = other.stderr, other._width, other._color_system

        def undo() -> None:
            self.stderr, self._width, self._color_system = before

        return undo


_LOST: list[OSError] = []
"""Why standard output could not be written."""
OUT = _Output()
"""Results: standard output, or standard error while ``--json -`` has that for itself."""
ERR = _Output(stderr=True)
"""Errors and progress: standard error."""


def write_any_text() -> None:
    """Have standard output and error write whatever text there is, and spell out what their encoding has not.

    Such as anything on a terminal that is ASCII, and what is not UTF-8 of a path.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and not stream.closed:
            stream.reconfigure(errors="backslashreplace")


def exit_code(code: int) -> int:
    """Return how a command ends that would end with this code: at least with 1, and a word, if its output was lost.

    A reader that went away wanted no more, and has lost nothing. To be called last, when all has been printed.
    """
    OUT.drain()
    if _LOST and not code:
        say(f"error: standard output cannot be written: {_LOST[0].strerror}", "red", ERR)
    ERR.drain()
    return code or (1 if _LOST and OUT.is_result else 0)


def only_tell() -> None:
    """Say that what the command prints is not its result, as a training's lines are not: losing them fails nothing."""
    OUT.is_result = False


def say(text: str, style: str = "", console: Console = OUT, *, whole: bool = False) -> None:
    """Print a line as it is, brackets and all; a terminal's is broken between words, others not at all.

    ``whole`` is for what is copied, such as a command: that is never broken. Nothing is raised where nothing can be
    written: the command's exit code tells, unless it ``only_tell``s.
    """
    if console.is_terminal and not whole:
        lines = text.split("\n")
        text = "\n".join(fill(line, console.width, break_long_words=False, break_on_hyphens=False) for line in lines)
    console.print(text, style=style or None, markup=False, soft_wrap=True)


def table(*titles: str, right: Sequence[str] = ()) -> Table:
    """An empty table that looks like all the others; those named in ``right`` are columns of numbers."""
    made = FittedTable(*titles)
    for title in right:
        made.add_column(title, justify="right")
    return made


def progress_bar(*, lines: bool = True) -> Progress:
    """A bar on standard error for tasks of known sizes, which goes when it is done; without a terminal, lines.

    Of those there is one every half a minute, so that a log shows that something goes on; none with ``lines=False``,
    for what prints lines of its own.
    """
    # What is printed meanwhile goes above the bar, unless it goes into a file.
    return LoggedProgress(ERR, lines=lines, redirect_stdout=OUT.is_terminal)


def followed(names: Iterable[str], doing: str) -> Iterator[str]:
    """Yield the names while a bar shows which one is being worked on; without a terminal nothing is shown."""
    names = list(names)
    with progress_bar() as progress:
        task = progress.add_task(doing, total=len(names))
        for name in names:
            progress.update(task, description=f"{doing} {name}")
            yield name
            progress.advance(task)


@contextmanager
def telling(total: int) -> Generator[Callable[[str], None], None, None]:
    """A function to be told what is done next: a bar moves on, or, without a terminal, a line says so.

    The total is a guess and grows if need be.
    """
    with progress_bar() as progress:
        task = progress.add_task("", total=total)
        begun = 0

        def tell(doing: str) -> None:
            nonlocal begun
            progress.update(task, completed=begun, total=max(total, begun + 1), description=doing)
            begun += 1
            if not ERR.is_terminal:
                say(f"{begun}/{max(total, begun)} {doing}", console=ERR)

        yield tell


def write_record(path: Path | None, record: Record) -> None:
    """Write a record as JSON into a file, whose folder is made, or for ``-`` to standard output."""
    if path == STDOUT:
        _Output().out(record.as_json(indent=1))
    elif path is not None:
        record.write(path)


def print_alone(text: str) -> None:
    """Print what another program reads to standard output, as it is; the rest has been told to go elsewhere."""
    _Output().out(text, end="")


def _leave_stdout(ctx: typer.Context, path: Path | None) -> Path | None:
    """For ``--json -``, everything else goes to standard error until the command ends."""
    if path == STDOUT:
        ctx.call_on_close(OUT.become(ERR))
    return path


JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        dir_okay=False,
        allow_dash=True,
        callback=_leave_stdout,
        help="Write the numbers to this file as well; - is standard output, with nothing else on it.",
    ),
]
"""The option ``--json``, for ``write_record``: ``json_: JsonFile = None``."""


def set_option(keys: Callable[[], list[str]]) -> Any:
    """The option ``--set``, for ``memstack.plugins.config``; ``keys`` are what a shell completes.

    ``Set = Annotated[list[str], set_option(keys)]``, then ``set_: Set = []``.
    """
    help_ = "Override a key, as in --set memory.backend=hnsw; may be repeated."
    return typer.Option("--set", metavar="KEY=VALUE", help=help_, autocompletion=keys)
