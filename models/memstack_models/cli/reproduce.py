"""``memstack reproduce``: a table of the paper made again, with the published figures beside it."""

import importlib.util
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from memstack import ConfigError, MemstackError
from memstack_models.cli.options import NOTHING, Set


def _tables() -> list[str]:
    from memstack_models.report.reproduce.grid import tables

    return tables()


def reproduce_command(
    table: Annotated[
        str,
        typer.Argument(
            help="table4, table5, figure1, figure6, ablations, recall or staleness.", autocompletion=_tables
        ),
    ],
    scale: Annotated[str, typer.Option(help="tiny: seconds a cell; small: minutes; paper: as published.")] = "small",
    only: Annotated[
        list[str], typer.Option(help="Only this corpus, or this cell and what it needs; may be repeated.")
    ] = NOTHING,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How often each model is trained.")] = 1,
    out: Annotated[Path, typer.Option(help="Where cells are kept, and the page goes.")] = Path("runs/reproduce"),
    jobs: Annotated[
        int | None, typer.Option(min=1, max=256, help="Cells made at once; by default as many as there are cores.")
    ] = None,
    data: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=SOURCE", help="Read a corpus from this folder or registered corpus; may be repeated."
        ),
    ] = NOTHING,
    set_: Set = NOTHING,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be made, and how long it takes.")
    ] = False,
) -> None:
    """Make a table of the paper again: Markdown, pictures and numbers, the published ones beside ours.

    Cells are kept by what decides them, and shared between tables of one folder; one that is cut short goes on. The
    same command again makes what is missing.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MemstackError("the pictures are drawn with matplotlib: pip install 'memstack[plots]'")
    if out.is_file():
        raise ConfigError(f"--out {out} is a file; name a folder")
    from memstack_models.cli.reproducing import reproduce
    from memstack_models.report.reproduce.corpora import given
    from memstack_models.report.reproduce.grid import scale_of
    from memstack_models.report.reproduce.plan import Request

    request = Request(
        table=table, scale=scale_of(scale), only=only, seeds=seeds, folder=out, data=given(data), overrides=set_
    )
    reproduce(request, jobs, shlex.join(["memstack", *sys.argv[1:]]), dry_run=dry_run)
