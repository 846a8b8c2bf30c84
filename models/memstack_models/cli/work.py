"""Training, evaluation and comparison under progress bars, for whichever command asks."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.progress import TaskID

from memstack import Split
from memstack.cli.console import OUT, progress_bar, say
from memstack.contract.errors import in_one_line
from memstack.plugins.config import MemoryConfig
from memstack_models.cli.bytes_table import bytes_table
from memstack_models.cli.over_ranks import is_lost
from memstack_models.data.tokenized import Tick, TokenizedCorpus
from memstack_models.data.tokenizer import Tokenizer
from memstack_models.evaluation.comparison import Comparison
from memstack_models.evaluation.records import Compared
from memstack_models.training.config import RunConfig
from memstack_models.training.creating import new_trainer, notices
from memstack_models.training.estimate import refused
from memstack_models.training.perplexity import Evaluation, Observe, evaluate
from memstack_models.training.ranks import ALONE, Ranks
from memstack_models.training.records import LogEntry, StepEntry, ValidationEntry
from memstack_models.training.sizes import TooLargeError
from memstack_models.training.stream import Stream
from memstack_models.training.trainer import Trainer
from memstack_models.transformer.transformer import Transformer


def create_trainer(run: RunConfig, folder: Path, tokenizer: Tokenizer, ranks: Ranks = ALONE) -> Trainer:
    """Read the corpus and build what trains on it; what does not fit is refused, with all that it takes in a table."""
    try:
        return new_trainer(run, folder, tokenizer, lambda line: say(f"note: {line}"), preparing, ranks)
    except TooLargeError as error:
        OUT.print(bytes_table(refused(str(folder), run, tokenizer.vocab_size, error)))
        raise


@contextmanager
def preparing(split: Split) -> Generator[Tick, None, None]:
    """A function to be told how far documents are tokenised: a bar shows it, once there is anything to show."""
    with progress_bar() as progress:
        tasks: list[TaskID] = []

        def tick(documents: int, tokens: int) -> None:
            if not tasks:
                tasks.append(progress.add_task("", total=None))
            doing = f"{split} documents tokenised, {tokens:,} tokens"
            progress.update(tasks[0], completed=documents, description=doing)

        yield tick


def notice(corpus: TokenizedCorpus, run: RunConfig) -> None:
    """Print what whoever trains or evaluates on these documents should know."""
    for line in notices(corpus, run):
        say(f"note: {line}")


def train_with_progress(
    trainer: Trainer, watch: Callable[[LogEntry], None] = lambda entry: None, *, held: bool = False
) -> None:
    """Train under a progress bar; each logged step is a line of numbers, also where there is no terminal for a bar.

    ``watch`` is told what is logged, too. What cannot be printed ends no training. ``held`` is the trainer's.
    """
    with progress_bar(lines=False) as progress:
        task = progress.add_task("training", total=trainer.run.train.steps, completed=trainer.step)

        def report(entry: LogEntry) -> None:
            say(measured_text(entry) if entry.kind == "step" else validation_text(entry))
            watch(entry)

        def tick(step: int) -> None:
            progress.update(task, completed=step)

        trainer.train(report, held=held, tick=tick, tell=lambda line: say(f"note: {line}"))


def evaluate_with_progress(
    title: str,
    model: Transformer,
    stream: Stream,
    tokenizer: Tokenizer,
    observe: Observe = lambda segment, nats, new: None,
) -> Evaluation:
    """Evaluate under a progress bar of tokens."""
    with progress_bar() as progress:
        task = progress.add_task(title, total=stream.reader.predicted_tokens)
        return evaluate(model, stream, tokenizer.token_bytes, partial(progress.advance, task), observe)


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
    with progress_bar() as progress:
        for name, memory in memories.items():
            task = progress.add_task(name.replace("none", "memory off"), total=comparison.tokens)
            try:
                results[name] = comparison.evaluate(memory, partial(progress.advance, task))
            except Exception as error:
                if failures is None or is_lost(error, comparison.ranks):
                    raise
                failures[name] = in_one_line(error)
            keep(results)
    return results


def measured_text(entry: StepEntry) -> str:
    """One step's numbers as a line."""
    text = f"step {entry.step}: loss {entry.loss:.3f}, "
    shares = [share for heads in entry.memory_share for share in heads]
    if not shares:
        return f"{text}{entry.tokens_per_s} tokens/s"
    recall = "" if entry.recall is None else f", recall {entry.recall:.3f}"
    times = f"search {entry.search_ms} ms, add {entry.add_ms} ms{recall}"
    return f"{text}{sum(shares) / len(shares):.0%} on memory, {entry.tokens_per_s} tokens/s, {times}"


def validation_text(entry: ValidationEntry) -> str:
    """A validation as one line, saying what the memory gains."""
    text = f"step {entry.step}: validation perplexity {entry.without.perplexity:.3f} without memory"
    if entry.with_memory is None or entry.gain is None:
        return text
    appears = "; the memory's gain appears" if entry.gain_appears else ""
    return f"{text}, {entry.with_memory.perplexity:.3f} with it ({-100 * entry.gain:+.1f} %){appears}"
