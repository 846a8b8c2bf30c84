"""``memstack eval``: the perplexity of a checkpoint on held-out documents, with its memory and without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from memstack.cli import console
from memstack.cli.console import OUT, JsonFile, write_record
from memstack_models.cli.options import NOTHING, Checkpoint, Set

if TYPE_CHECKING:
    from memstack_models.training.perplexity import Evaluation


def eval_command(
    checkpoint: Checkpoint,
    set_: Set = NOTHING,
    data: Annotated[str | None, typer.Option(help="A folder of documents instead of the run's corpus.")] = None,
    json_: JsonFile = None,
) -> None:
    """Report perplexity per token, bits per byte and perplexity by position, with and without the memory."""
    from memstack_models.cli.work import evaluate_with_progress, notice
    from memstack_models.data.documents import replaced
    from memstack_models.data.load import tokenized
    from memstack_models.evaluation.records import EvalRecord
    from memstack_models.training import run_folder
    from memstack_models.training.device import pick_device
    from memstack_models.training.streams import evaluation_stream

    folder = run_folder.find(checkpoint)
    run = run_folder.read_config(folder, set_)
    device = pick_device(run.train.device)
    model, tokenizer = run_folder.load_model(folder, run, device)
    limits = run.eval
    source = replaced(run.data, data, limits.split) if data else run.data
    corpus = tokenized(source, limits.split, tokenizer, limits.tokens, limits.documents)
    notice(corpus, run)
    memory = f"{run.memory.backend}/{run.memory.capacity}"
    results: dict[str, Evaluation] = {}
    for name, section in {"none": None, memory: run.memory}.items():
        if section is None or run.model.memory_layers:
            stream = evaluation_stream(run, corpus.documents, device, section)
            results[name] = evaluate_with_progress(name.replace("none", "memory off"), model, stream, tokenizer)
    OUT.print(by_position_table(results))
    read = {name: result.result() for name, result in results.items()}
    write_record(json_, EvalRecord(checkpoint=str(folder), memories=read))


def by_position_table(results: dict[str, Evaluation]) -> Table:
    """Perplexity of each memory, whole and by position in the document."""
    stretches = list(next(iter(results.values())).by_position())
    lines = console.table("memory", right=["perplexity", "bits/byte", *stretches])
    lines.title = "perplexity by position in the document (tokens)"
    for name, result in results.items():
        places = result.by_position()
        cells = [f"{places[stretch]:.3f}" for stretch in stretches]
        lines.add_row(name, f"{result.perplexity():.3f}", f"{result.bits_per_byte:.3f}", *cells)
    return lines
