"""``memstack estimate``: the bytes of a training and the seconds of its step on this machine, before any is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from memstack.cli.console import JsonFile, say, write_record
from memstack_models.cli import sizing
from memstack_models.cli.options import NOTHING, Set, TableFormat, beside, print_table, refuse_two_results
from memstack_models.evaluation.formats import Format
from memstack_models.training import bundled

if TYPE_CHECKING:
    from pathlib import Path

    from memstack_models.training.estimate import EstimateRecord, Seconds


def names() -> list[str]:
    """Recipes and checkpoints that ship."""
    return sorted({*bundled.recipes(), *bundled.checkpoints()})


def estimate_command(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="[RECIPE]",
            help="A bundled recipe, a TOML file, a run folder, or a checkpoint that ships.",
            autocompletion=names,
        ),
    ] = None,
    set_: Set = NOTHING,
    entries: sizing.Entries = NOTHING,
    ranks: sizing.Ranks = None,
    heads: sizing.Heads = None,
    key_dim: sizing.KeyDim = None,
    value_dim: sizing.ValueDim = None,
    dtype: sizing.Stored = None,
    queries: sizing.Queries = None,
    neighbours: sizing.Neighbours = None,
    cost: sizing.Cost = NOTHING,
    format_: TableFormat = Format.TABLE,
    json_: JsonFile = None,
) -> None:
    """Tell what a training would take: the bytes of each part beside what there is, and the seconds of a step.

    Nothing of it is made: a step is walked through on tensors without numbers, and small operations are timed. Memories
    count as full. The exit code is 1 where the training would be refused.

    With --entries, tell on paper what a store of so many entries takes on GPUs and on a cluster: bytes, traffic, hours,
    cost, and the unit costs that it is made from.
    """
    described = {
        **{"ranks": ranks, "heads": heads, "key_dim": key_dim, "value_dim": value_dim},
        **{"dtype": dtype, "queries": queries, "neighbours": neighbours},
    }
    given = {name: value for name, value in described.items() if value is not None}
    refuse_two_results(json_, format_)
    with beside(format_ != Format.TABLE):
        if sizing.is_of_store(recipe, entries, set_, [*given, *(["cost"] if cost else [])]):
            sizing.size(entries, given, cost, format_, json_)
        else:
            estimate_training(recipe or "", set_, format_, json_)


def estimate_training(recipe: str, overrides: list[str], format_: Format, json_: Path | None) -> None:
    """Print what a training takes; exit code 1 where it is refused."""
    from memstack_models.cli.bytes_table import bytes_table
    from memstack_models.training.estimate import estimate

    record = estimate(recipe, overrides)
    print_table(bytes_table(record), format_)
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
