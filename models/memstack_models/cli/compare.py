"""``memstack compare``: one checkpoint with several memories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from memstack import ConfigError, MemstackError
from memstack.cli.complete import backend_names
from memstack.cli.console import OUT, STDOUT, JsonFile, say, write_record
from memstack.plugins.registry import registry
from memstack_models.cli.options import NOTHING, Checkpoint, Set

if TYPE_CHECKING:
    from memstack.plugins.config import MemoryConfig
    from memstack_models.evaluation.records import Compared


def compare_command(
    checkpoint: Checkpoint,
    backend: Annotated[
        list[str],
        typer.Option(
            "-b",
            "--backend",
            help="NAME or NAME,option=value,...; by default all installed ones.",
            autocompletion=backend_names,
        ),
    ] = NOTHING,
    capacity: Annotated[list[int], typer.Option(help="Entries per memory; may be repeated.")] = [8192],  # noqa: B006
    set_: Set = NOTHING,
    json_: JsonFile = None,
) -> None:
    """Evaluate one checkpoint with several memories: perplexity, recall on its real keys, search and add times."""
    from memstack_models.cli.work import compare_with_progress
    from memstack_models.evaluation.comparison import Comparison, comparison_table
    from memstack_models.evaluation.records import CompareRecord
    from memstack_models.training import run_folder

    comparison = Comparison(run_folder.find(checkpoint), set_)
    if not comparison.run.model.memory_layers:
        raise ConfigError(f"{checkpoint} has no memory layer, so there are no memories to compare: use memstack eval")
    own = comparison.run.memory
    memories = {
        f"{text}/{size}": memory.model_copy(update={"capacity": size})
        for size in capacity
        for text, memory in _compared(own, backend).items()
    }
    failures: dict[str, str] = {}

    def keep(results: dict[str, Compared]) -> None:
        write_record(json_, CompareRecord(checkpoint=checkpoint, memories=results, failures=failures))

    # What took minutes should outlive what comes after it; standard output gets the whole alone.
    after_each = [] if json_ == STDOUT else [keep]
    results = compare_with_progress(comparison, {"none": None} | memories, failures, *after_each)
    anchors = {name: f"{own.backend}/{memory.capacity}" for name, memory in memories.items()}
    OUT.print(comparison_table(results, own.backend, anchors))
    say(f"search, add and worst add: in units of {own.backend}'s search with as many entries, measured in this run")
    for name, reason in failures.items():
        say(f"{name} failed: {reason}", "red")
    keep(results)
    if failures:
        raise typer.Exit(1)


def _compared(own: MemoryConfig, chosen: list[str]) -> dict[str, MemoryConfig]:
    """The memories to compare by what they are called: first the checkpoint's own backend, the unit of the others."""
    from memstack_models.evaluation.comparison import memory_name, memory_of

    memories = {own.backend: own}
    for text in chosen or [spec.name for spec in registry().specs() if spec.name != own.backend]:
        try:
            memory = memory_of(text, own.capacity, own.neighbours)
            memories[memory_name(memory)] = memory
        except MemstackError as error:
            if chosen:
                raise
            say(f"left out: {error}")  # installed with something else, or not at all: no reason to compare nothing
    return memories
