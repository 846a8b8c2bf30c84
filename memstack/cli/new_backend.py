"""``memstack new-backend``: writes a plugin and says what to do with it."""

from pathlib import Path
from typing import Annotated

import typer

from memstack.cli import scaffold
from memstack.cli.console import say


def new_backend_command(
    name: Annotated[str, typer.Argument(help="What the backend will be called, such as my-index.")],
    folder: Annotated[Path, typer.Argument(help="A new or empty folder for the plugin.")],
    whole_memory: Annotated[
        bool,
        typer.Option("--whole-memory", help="For one index over all rows and heads, instead of one for each of them."),
    ] = False,
) -> None:
    """Write the plugin and print the next commands."""
    scaffold.new_backend(name, folder, whole_memory=whole_memory)
    say(f"wrote a plugin with the backend {name} into {folder}; next:")
    for line in scaffold.next_commands(name, folder):
        say(f"    {line}", whole=True)
