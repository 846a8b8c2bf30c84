"""``memstack estimate``: the bytes of a training and the seconds of its step on this machine, before any is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from memstack.cli.console import OUT, JsonFile, say, write_record
from memstack_models.cli.options import NOTHING, Set
from memstack_models.training import bundled

if TYPE_CHECKING:
    from memstack_models.training.estimate import EstimateRecord, Seconds


def names() -> list[str]:
    """Recipes and checkpoints that ship."""
    return sorted({*bundled.recipes(), *bundled.checkpoints()})


def estimate_command(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A bundled recipe, a TOML file, a run folder, or a checkpoint that ships.",
            autocompletion=names,
        ),
    ],
    set_: Set = NOTHING,
    json_: JsonFile = None,
) -> None:
    """Tell what a training would take: the bytes of each part beside what there is, and the seconds of a step.

    Nothing of it is made: a step is walked through on tensors without numbers, and small operations are timed. Memories
    count as full. The exit code is 1 where the training would be refused.
    """
    from memstack_models.cli.bytes_table import bytes_table
    from memstack_models.training.estimate import estimate

    record = estimate(recipe, set_)
    OUT.print(bytes_table(record))
    for line in notes(record):
        say(line)
    write_record(json_, record)
    if not record.fits:
        raise typer.Exit(1)


def notes(record: EstimateRecord) -> list[str]:
    """What the table does not say."""
    if record.seconds is None:
        return ["it does not fit: that is the least that it takes, and no step was timed"]
    short = [place for place, taken in record.places.items() if taken.there and taken.bytes > taken.there]
    return [step_text(record.seconds), *(f"note: it may not fit into {place}" for place in short)]


def step_text(seconds: Seconds) -> str:
    """A step's seconds, in words."""
    parts = ("model", "search", "add", "update")
    told = ", ".join(f"{part} {getattr(seconds, part):.3g}" for part in parts)
    return f"a step with full memories: about {seconds.total:.3g} s ({told})"
