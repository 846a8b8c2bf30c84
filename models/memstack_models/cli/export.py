"""``memstack export``: what others need of a run, in a folder to share."""

from pathlib import Path
from typing import Annotated

import typer

from memstack.cli.console import say


def export_command(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
) -> None:
    """Write weights in bfloat16, tokeniser, configuration, log and a model card to a new folder."""
    from memstack_models.training import run_folder

    run_folder.export(run, folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    say(f"{folder}: {size / 1e6:.1f} MB")
