"""The arguments that several commands take, and what a shell can complete for them."""

from collections.abc import Iterator
from typing import Annotated

import typer
from pydantic import BaseModel

from memstack.cli.console import set_option
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
Recall = Annotated[float, typer.Option(min=0.0, max=1.0, help="The share of the true neighbours that is good enough.")]
Seed = Annotated[int, typer.Option(min=0, max=(1 << 63) - 1, help="Where in the recorded text the memories begin.")]
Set = Annotated[list[str], set_option(run_keys)]
NOTHING: list[str] = []
