"""``memstack demo``: what a memory is good for, in three minutes."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from memstack import MemstackError
from memstack.cli.complete import backend_names


def demo_command(
    backend: Annotated[
        str, typer.Option(help="The backend the tiny model trains with.", autocompletion=backend_names)
    ] = "exact",
    out: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("runs/demo"),
) -> None:
    """Evaluate the shipped checkpoint with several memories and on five corpora, train a tiny model; write it all."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MemstackError("the demo draws with matplotlib: pip install 'memstack[plots]'")
    from memstack_models.cli.demo_run import demo

    demo(backend, out)
