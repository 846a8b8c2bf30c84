"""The commands ``train``, ``eval``, ``compare``, ``export`` and ``demo``."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from memstack import ConfigError, MemstackError
from memstack.plugins.config import MemoryConfig
from memstack.plugins.registry import registry
from memstack_models.cli.console import OUT, say, write_json
from memstack_models.cli.work import (
    compare_with_progress,
    create_trainer,
    evaluate_with_progress,
    notice,
    train_with_progress,
)
from memstack_models.data.documents import replaced
from memstack_models.data.load import tokenized, tokenizer_for
from memstack_models.data.tokenizer import load_tokenizer
from memstack_models.evaluation.comparison import Compared, Comparison, comparison_table, memory_of
from memstack_models.training import run_folder
from memstack_models.training.device import pick_device
from memstack_models.training.perplexity import Evaluation
from memstack_models.training.streams import evaluation_stream

Set = Annotated[list[str], typer.Option("--set", help="Override a key: --set memory.backend=hnsw. May be repeated.")]
NOTHING: list[str] = []


def train_command(
    recipe: Annotated[str, typer.Argument(help="A bundled recipe's name, or a TOML file.")],
    set_: Set = NOTHING,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/RECIPE by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the folder.")] = False,
) -> None:
    """Train, reporting loss, memory share, speed and time in the memory."""
    folder = out or Path("runs") / Path(recipe).stem
    run = run_folder.recipe(recipe, set_)
    begun = resume and run_folder.is_begun(folder)
    if begun:
        run_folder.refuse_other(folder, run)
    else:
        run_folder.refuse_occupied(folder)
    tokenizer = load_tokenizer(folder) if begun else tokenizer_for(run.data)
    trainer = create_trainer(run, folder, tokenizer)
    if begun:
        trainer.resume()
    else:
        # Only now: whatever is wrong with the input has shown by here, and has written nothing.
        run_folder.create(folder, run, tokenizer)
    say(f"{'resuming' if begun else 'starting'} at step {trainer.step} of {run.train.steps}: {folder}")
    train_with_progress(trainer)
    say(f"trained to step {trainer.step}: {folder}")


def eval_command(
    checkpoint: Annotated[str, typer.Argument(help="A run folder, or the name of a checkpoint that ships.")],
    set_: Set = NOTHING,
    data: Annotated[str | None, typer.Option(help="A folder of documents instead of the run's corpus.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file as well.")] = None,
) -> None:
    """Report perplexity per token, bits per byte and perplexity by position, with and without the memory."""
    if json_ is not None and json_.is_dir():
        raise ConfigError(f"--json {json_} is a folder; name a file")
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
    if json_ is not None:
        numbers = {name: result.summary() for name, result in results.items()}
        write_json(json_, {"checkpoint": str(folder), "memories": numbers})


def compare_command(
    checkpoint: Annotated[str, typer.Argument(help="A run folder, or the name of a checkpoint that ships.")],
    backend: Annotated[
        list[str], typer.Option("-b", "--backend", help="NAME or NAME,option=value,...; by default all installed ones.")
    ] = NOTHING,
    capacity: Annotated[list[int], typer.Option(help="Entries per memory; may be repeated.")] = [8192],  # noqa: B006
    set_: Set = NOTHING,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file as well.")] = None,
) -> None:
    """Evaluate one checkpoint with several memories: perplexity, recall on its real keys, search and add times."""
    if json_ is not None and json_.is_dir():
        raise ConfigError(f"--json {json_} is a folder; name a file")
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
        if json_ is not None:
            numbers = {name: result.numbers() for name, result in results.items()}
            write_json(json_, {"checkpoint": checkpoint, "memories": numbers, "failures": failures})

    results = compare_with_progress(comparison, {"none": None} | memories, failures, keep)
    anchors = {name: f"{own.backend}/{memory.capacity}" for name, memory in memories.items()}
    say(comparison_table(results, own.backend, anchors))
    say(f"search, add and worst add: in units of {own.backend}'s search with as many entries, measured in this run")
    for name, reason in failures.items():
        say(f"{name} failed: {reason}")
    if failures:
        raise typer.Exit(1)


def export_command(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
) -> None:
    """Write weights in bfloat16, tokeniser, configuration and log to a new folder."""
    run_folder.export(run, folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    say(f"{folder}: {size / 1e6:.1f} MB")


def demo_command(
    backend: Annotated[str, typer.Option(help="The backend the tiny model trains with.")] = "exact",
    out: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("runs/demo"),
) -> None:
    """Evaluate the shipped checkpoint with several memories, train a tiny model, write a table, a picture and JSON."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MemstackError("the demo draws with matplotlib: pip install 'memstack[plots]'")
    from memstack_models.cli.demo import demo

    demo(backend, out)


def _compared(own: MemoryConfig, chosen: list[str]) -> dict[str, MemoryConfig]:
    """The memories to compare by what they are called: first the checkpoint's own backend, the unit of the others."""
    memories = {own.backend: own}
    for text in chosen or [spec.name for spec in registry().specs() if spec.name != own.backend]:
        try:
            memories[text] = memory_of(text, own.capacity, own.neighbours)
        except MemstackError as error:
            if chosen:
                raise
            say(f"left out: {error}")  # installed with something else, or not at all: no reason to compare nothing
    return memories


def by_position_table(results: dict[str, Evaluation]) -> Table:
    """Perplexity of each memory, whole and by position in the document."""
    stretches = list(next(iter(results.values())).by_position())
    table = Table(
        "memory", "perplexity", "bits/byte", *stretches, title="perplexity by position in the document (tokens)"
    )
    for name, result in results.items():
        places = result.by_position()
        cells = [f"{places[stretch]:.3f}" for stretch in stretches]
        table.add_row(name, f"{result.perplexity():.3f}", f"{result.bits_per_byte:.3f}", *cells)
    return table
