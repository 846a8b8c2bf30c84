"""``memstack compare``: one checkpoint with several memories, or several runs on one text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from memstack import ConfigError, MemstackError
from memstack.cli.complete import backend_names
from memstack.cli.console import STDOUT, JsonFile, say, write_record
from memstack.plugins.registry import registry
from memstack_models.cli.options import (
    NOTHING,
    Checkpoints,
    Data,
    Set,
    TableFormat,
    beside,
    print_table,
    refuse_two_results,
)
from memstack_models.evaluation.formats import Format

if TYPE_CHECKING:
    from pathlib import Path

    from memstack.plugins.config import MemoryConfig
    from memstack_models.evaluation.records import Compared
    from memstack_models.training.ranks import Ranks

ENTRIES = 8192
"""Per memory, where no capacity is given."""


def compare_command(
    checkpoints: Checkpoints,
    backend: Annotated[
        list[str],
        typer.Option(
            "-b",
            "--backend",
            help="NAME or NAME,option=value,...; by default all installed ones. Of one checkpoint.",
            autocompletion=backend_names,
        ),
    ] = NOTHING,
    capacity: Annotated[
        list[int], typer.Option(min=1, help=f"Entries per memory, by default {ENTRIES}; may be repeated. Likewise.")
    ] = [],  # noqa: B006
    data: Data = None,
    set_: Set = NOTHING,
    format_: TableFormat = Format.TABLE,
    json_: JsonFile = None,
) -> None:
    """Evaluate one checkpoint with several memories, or several checkpoints with their own, on one text.

    Of one: perplexity, recall on its real keys, search and add times of each memory. Of several: perplexity, whole and
    by position, and what each gains on the first, whose corpus they all read. Started by torchrun, as torchrun
    --nproc-per-node 4 -m memstack compare, its processes share the documents.
    """
    from memstack_models.cli.over_ranks import over_ranks

    with over_ranks() as ranks, beside(format_ != Format.TABLE):
        ranks.together(lambda: _refuse_contradictions(checkpoints, [*backend, *capacity], format_, json_))
        if len(checkpoints) == 1:
            _compare_memories(checkpoints[0], backend, capacity or [ENTRIES], data, set_, format_, json_, ranks)
        else:
            from memstack_models.cli.compare_runs import compare_runs

            compare_runs(checkpoints, data, set_, lambda lines: print_table(lines, format_), json_, ranks)


def _refuse_contradictions(
    checkpoints: list[str], chosen: list[str | int], format_: Format, json_: Path | None
) -> None:
    """ConfigError for options that cannot be had together."""
    refuse_two_results(json_, format_)
    if len(checkpoints) > 1 and chosen:
        raise ConfigError(
            "-b and --capacity choose the memories of one checkpoint, and several were named: each has its own, "
            "which --set memory.backend=NAME changes in all; or name one"
        )


def _compare_memories(
    checkpoint: str,
    backend: list[str],
    capacity: list[int],
    data: str | None,
    set_: list[str],
    format_: Format,
    json_: Path | None,
    ranks: Ranks,
) -> None:
    from memstack_models.cli.work import compare_with_progress
    from memstack_models.evaluation.comparison import Comparison, comparison_table
    from memstack_models.evaluation.records import CompareRecord
    from memstack_models.evaluation.runs import text_of
    from memstack_models.training import run_folder

    def prepare() -> tuple[Comparison, dict[str, MemoryConfig]]:
        folder = run_folder.find(checkpoint)
        comparison = Comparison(folder, set_, text=text_of(folder, set_, data), ranks=ranks)
        if not comparison.run.model.memory_layers:
            raise ConfigError(
                f"{checkpoint} has no memory layer, so there are no memories to compare: use memstack eval"
            )
        chosen = [(size, *each) for size in capacity for each in _compared(comparison.run.memory, backend).items()]
        return comparison, {
            f"{text}/{size}": memory.model_copy(update={"capacity": size}) for size, text, memory in chosen
        }

    failures: dict[str, str] = {}

    def keep(results: dict[str, Compared]) -> None:
        record = CompareRecord(checkpoint=checkpoint, memories=results, failures=failures)
        ranks.by_first(lambda: write_record(json_, record))

    comparison, memories = ranks.after_first(prepare)
    own = comparison.run.memory
    for line in comparison.notices():
        say(f"note: {line}")
    # What took minutes should outlive what comes after it; standard output gets the whole alone.
    after_each = [] if json_ == STDOUT else [keep]
    results = compare_with_progress(comparison, {"none": None} | memories, failures, *after_each)
    anchors = {name: f"{own.backend}/{memory.capacity}" for name, memory in memories.items()}
    ranks.by_first(lambda: print_table(comparison_table(results, own.backend, anchors), format_))
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
    others = [spec.name for spec in registry().specs() if spec.name != own.backend and not spec.needs_options]
    for text in chosen or others:
        try:
            memory = memory_of(text, own.capacity, own.neighbours)
            memories[memory_name(memory)] = memory.model_copy(update={"store": own.store})
        except MemstackError as error:
            if chosen:
                raise
            say(f"left out: {error}")  # installed with something else, or not at all: no reason to compare nothing
    return memories
