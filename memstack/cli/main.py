"""The command line: its own commands and those of plugins, one door for errors."""

import sys
from typing import Annotated

import typer

from memstack.cli.console import say, write_any_text
from memstack.cli.group import Group
from memstack.plugins.distributions import with_version
from memstack.plugins.registry import registry

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Example: memstack check hnsw --quick",
)


def _show_version(wanted: bool) -> None:
    """Print memstack's version and, without importing any, those of the libraries that search."""
    if not wanted:
        return
    searching = sorted({library for spec in registry().specs() for library in spec.installed()})
    libraries = ", ".join([f"Python {sys.version.partition(' ')[0]}", with_version("torch"), *searching])
    say(f"{with_version('memstack')} ({libraries})")
    raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the versions of memstack and its libraries.", callback=_show_version)
    ] = False,
    _debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; before or after it.")
    ] = False,
) -> None:
    """Long-term kNN memory for transformers, with interchangeable search backends."""


def main() -> None:
    """Run the command line; what goes wrong is one line and exit code 2, ``--debug`` shows its traceback."""
    write_any_text()
    app()
