"""``memstack estimate --entries``: the options that describe a store, and what is printed of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from memstack import ConfigError
from memstack.cli.console import print_alone, say, write_record
from memstack_models.cli.options import print_table
from memstack_models.evaluation.formats import Format
from memstack_models.training.sizing.store import Asked, DType, entries_of

USUAL, MOST = Asked(), 1 << 16
Entries = Annotated[
    list[str],
    typer.Option(metavar="NUMBER", help="Instead of a recipe: entries of one store for all ranks; may be repeated."),
]
Ranks = Annotated[int | None, typer.Option(min=1, max=MOST, help=f"Of a store: GPUs, {USUAL.ranks} by default.")]
Heads = Annotated[
    int | None,
    typer.Option(min=1, max=MOST, help=f"Memories of so many entries: heads of all layers; {USUAL.heads} by default."),
]
KeyDim = Annotated[int | None, typer.Option(min=1, max=MOST, help=f"Width of a key, {USUAL.key_dim} by default.")]
ValueDim = Annotated[int | None, typer.Option(min=1, max=MOST, help=f"Of a value, {USUAL.value_dim} by default.")]
Stored = Annotated[DType | None, typer.Option("--dtype", help=f"How both are kept, {USUAL.dtype} by default.")]
Queries = Annotated[
    int | None,
    typer.Option(min=1, max=1 << 30, help=f"Of a rank and head in a step, {USUAL.queries} by default."),
]
Neighbours = Annotated[int | None, typer.Option(min=1, max=MOST, help=f"Of a query, {USUAL.neighbours} by default.")]
Cost = Annotated[
    list[str], typer.Option(metavar="NAME=NUMBER", help="Another unit cost, as prices.gpu_hour=4; may be repeated.")
]


def is_of_store(recipe: str | None, entries: Sequence[str], settings: Sequence[str], given: Sequence[str]) -> bool:
    """Whether a store is meant rather than a training; ConfigError for what is neither, or both.

    ``given`` are the options that were given of those that describe a store.
    """
    if recipe is None and not entries:
        raise ConfigError(
            "name a recipe, as memstack estimate tiny, or say how large a store is, as memstack estimate --entries 1e9"
        )
    if recipe is not None and (entries or given):
        name = "--entries" if entries else f"--{given[0].replace('_', '-')}"
        raise ConfigError(f"{name} is of a store, {recipe} is a training: leave out one of them")
    if recipe is None and settings:
        raise ConfigError(f"--set {settings[0]} changes a recipe, and there is none: of a store, --cost changes a cost")
    return recipe is None


def size(
    entries: Sequence[str], given: dict[str, Any], costs: Sequence[str], format_: Format, json_: Path | None
) -> None:
    """Print what stores of so many entries take."""
    from memstack_models.cli.sizing_tables import costs_table, notes, sizes_table
    from memstack_models.training.sizing.costs import unit_costs
    from memstack_models.training.sizing.sizing import sizing

    record = sizing([entries_of(each) for each in entries], Asked(**given), unit_costs(costs))
    both = [sizes_table(record), costs_table(record)]
    # On a screen the answer comes last, where it is seen.
    for index, each in enumerate(reversed(both) if format_ == Format.TABLE else both):
        if index:
            say("") if format_ == Format.TABLE else print_alone("\n")
        print_table(each, format_)
    for line in notes(record):
        say(line)
    write_record(json_, record)
