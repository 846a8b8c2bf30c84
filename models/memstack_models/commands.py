"""The commands ``train``, ``eval``, ``compare``, ``export`` and ``demo``."""

import importlib.util
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from memstack import ConfigError, MemstackError
from memstack.config import MemoryConfig
from memstack.errors import in_one_line
from memstack.registry import registry
from memstack_models import runs
from memstack_models.comparison import Compared, Comparison, comparison_table, memory_of
from memstack_models.config import RunConfig
from memstack_models.corpus import TokenizedCorpus, short_documents
from memstack_models.data import evaluation_stream, tokenized, tokenizer_for
from memstack_models.evaluation import Evaluation, evaluate
from memstack_models.stream import Stream
from memstack_models.tokenizer import Tokenizer, load_tokenizer
from memstack_models.training import Trainer, pick_device
from memstack_models.transformer import Transformer

OUT = Console(highlight=False)

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
    run = runs.recipe(recipe, set_)
    begun = resume and runs.is_begun(folder)
    if begun:
        runs.refuse_other(folder, run)
    else:
        runs.refuse_occupied(folder)
    tokenizer = load_tokenizer(folder) if begun else tokenizer_for(run.data)
    trainer = create_trainer(run, folder, tokenizer)
    if begun:
        trainer.resume()
    else:
        # Only now: whatever is wrong with the input has shown by here, and has written nothing.
        runs.create(folder, run, tokenizer)
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
    folder = runs.find(checkpoint)
    run = runs.read_config(folder, set_)
    device = pick_device(run.train.device)
    model, tokenizer = runs.load_model(folder, run, device)
    source, limits = data or run.data.corpus, run.eval
    corpus = tokenized(source, limits.split, tokenizer, limits.tokens, limits.documents)
    _notice(corpus, run)
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
    comparison = Comparison(runs.find(checkpoint), set_)
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
    runs.export(run, folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    say(f"{folder}: {size / 1e6:.1f} MB")


def demo_command(
    backend: Annotated[str, typer.Option(help="The backend the tiny model trains with.")] = "exact",
    out: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("runs/demo"),
) -> None:
    """Evaluate the shipped checkpoint with several memories, train a tiny model, write a table, a picture and JSON."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MemstackError("the demo draws with matplotlib: pip install 'memstack[plots]'")
    from memstack_models.demo import demo

    demo(backend, out)


def train_with_progress(trainer: Trainer, watch: Callable[[dict[str, Any]], None] = lambda entry: None) -> None:
    """Train under a progress bar; each logged step is a line of numbers, also where there is no terminal for a bar.

    ``watch`` is told what is logged, too.
    """
    with _progress() as progress:
        task = progress.add_task("training", total=trainer.run.train.steps, completed=trainer.step)

        def report(entry: dict[str, Any]) -> None:
            progress.update(task, completed=entry["step"])
            say(measured_text(entry) if "loss" in entry else validation_text(entry))
            watch(entry)

        trainer.train(report)


def evaluate_with_progress(title: str, model: Transformer, stream: Stream, tokenizer: Tokenizer) -> Evaluation:
    """Evaluate under a progress bar of tokens."""
    with _progress() as progress:
        task = progress.add_task(title, total=stream.reader.predicted_tokens)
        return evaluate(model, stream, tokenizer.token_bytes, lambda tokens: progress.advance(task, tokens))


def compare_with_progress(
    comparison: Comparison,
    memories: Mapping[str, MemoryConfig | None],
    failures: dict[str, str] | None = None,
    keep: Callable[[dict[str, Compared]], None] = lambda results: None,
) -> dict[str, Compared]:
    """Evaluate with one memory after the other, a progress bar of tokens for each; ``keep`` is told after each.

    What fails is raised or, if ``failures`` are given, noted there, and the others go on.
    """
    results: dict[str, Compared] = {}
    with _progress() as progress:
        for name, memory in memories.items():
            task = progress.add_task(name.replace("none", "memory off"), total=comparison.tokens)
            try:
                results[name] = comparison.evaluate(memory, partial(progress.advance, task))
            except Exception as error:
                if failures is None:
                    raise
                failures[name] = in_one_line(error)
            keep(results)
    return results


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


def write_json(path: Path, numbers: Any) -> None:
    """Write plain numbers, making the folder they go to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


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


def measured_text(entry: dict[str, Any]) -> str:
    """One step's numbers as a line."""
    shares = [share for heads in entry["memory share"] for share in heads]
    memory = f"{sum(shares) / len(shares):.0%} on memory, " if shares else ""
    times = f"search {entry['search ms']} ms, add {entry['add ms']} ms"
    recall = f", recall {entry['recall']:.3f}" if "recall" in entry else ""
    return f"step {entry['step']}: loss {entry['loss']:.3f}, {memory}{entry['tokens/s']} tokens/s, {times}{recall}"


def validation_text(entry: dict[str, Any]) -> str:
    """A validation as one line, saying what the memory gains."""
    text = f"step {entry['step']}: validation perplexity {entry['without']['perplexity']:.3f} without memory"
    if "with memory" not in entry:
        return text
    appears = "; the memory's gain appears" if entry["gain appears"] else ""
    return f"{text}, {entry['with memory']['perplexity']:.3f} with it ({-100 * entry['gain']:+.1f} %){appears}"


def say(text: str) -> None:
    """Print a line as it is: brackets in a path are no markup, and a long line is not broken."""
    OUT.print(text, markup=False, soft_wrap=True)


def create_trainer(run: RunConfig, folder: Path, tokenizer: Tokenizer) -> Trainer:
    """Read the corpus and build what trains on it."""
    corpus = tokenized(run.data.corpus, "train", tokenizer)
    _notice(corpus, run)
    held_out: list[torch.Tensor] = []
    if run.train.validate_every:
        held_out = tokenized(
            run.data.corpus, "validation", tokenizer, run.train.validate_tokens, run.eval.documents
        ).documents
    return Trainer(run, folder, tokenizer.vocab_size, corpus.documents, held_out, tokenizer.token_bytes)


def _notice(corpus: TokenizedCorpus, run: RunConfig) -> None:
    if notice := short_documents(corpus, run.train.segment):
        say(f"note: {notice}")


def _progress() -> Progress:
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    return Progress(*columns, console=OUT)
