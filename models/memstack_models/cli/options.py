"""The arguments that several commands take, and what a shell can complete for them."""

from typing import Annotated

import typer

from memstack_models.training import bundled

Checkpoint = Annotated[
    str,
    typer.Argument(help="A run folder, or the name of a checkpoint that ships.", autocompletion=bundled.checkpoints),
]
Recall = Annotated[float, typer.Option(min=0.0, max=1.0, help="The share of the true neighbours that is good enough.")]
Seed = Annotated[int, typer.Option(min=0, help="Where in the recorded text the memories begin.")]
NOTHING: list[str] = []
