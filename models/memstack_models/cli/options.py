"""The arguments that several commands take, and what a shell can complete for them."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.table import Table

from memstack import ConfigError
from memstack.cli.console import ERR, OUT, STDOUT, print_alone, set_option
from memstack_models.evaluation.formats import Format, formatted
from memstack_models.training import bundled
from memstack_models.training.config import RunConfig


def run_keys() -> list[str]:
    """Return every key of a run's configuration as ``--set`` takes it: ``memory.backend=`` and so on."""
    return list(_keys(RunConfig, ""))


def _keys(section: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}="


Checkpoint = Annotated[
    str,
    typer.Argument(help="A run folder, or the name of a checkpoint that ships.", autocompletion=bundled.checkpoints),
]
Checkpoints = Annotated[
    list[str],
    typer.Argument(
        metavar="CHECKPOINT...",
        help="A run folder, or the name of a checkpoint that ships; or several.",
        autocompletion=bundled.checkpoints,
    ),
]
Data = Annotated[str | None, typer.Option(help="A folder of documents instead of the run's corpus.")]
TableFormat = Annotated[
    Format, typer.Option("--format", help="How the table is printed; all but table are alone on standard output.")
]
Recall = Annotated[float, typer.Option(min=0.0, max=1.0, help="The share of the true neighbours that is good enough.")]
Seed = Annotated[int, typer.Option(min=0, max=(1 << 63) - 1, help="Where in the recorded text the memories begin.")]
Set = Annotated[list[str], set_option(run_keys)]
NOTHING: list[str] = []


@contextmanager
def beside(alone: bool) -> Generator[None, None, None]:
    """Meanwhile print what is for people on standard error, if something else is to be alone on standard output."""
    undo = OUT.become(ERR) if alone else None
    try:
        yield
    finally:
        if undo is not None:
            undo()


def refuse_two_results(json_: Path | None, format_: Format) -> None:
    """ConfigError if both a record and a table are to be alone on standard output."""
    if json_ == STDOUT and format_ != Format.TABLE:
        raise ConfigError(f"--json - and --format {format_} both want standard output: name a file for --json")


def print_table(lines: Table, format_: Format) -> None:
    """Print a table for people, or alone on standard output for a program."""
    if format_ == Format.TABLE:
        OUT.print(lines)
    else:
        print_alone(formatted(lines, format_))
