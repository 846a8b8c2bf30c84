"""The demo: the shipped checkpoint with several memories and on five corpora, a tiny model trained."""

from collections.abc import Mapping
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from pydantic import Field
from rich.table import Table

from memstack.cli import console
from memstack.cli.console import OUT, say
from memstack.plugins.config import Frozen
from memstack.plugins.records import Record
from memstack.plugins.registry import registry
from memstack_models.cli.demo_corpora import corpora_table, memories, read_corpora
from memstack_models.cli.position_plot import draw_both
from memstack_models.cli.work import compare_with_progress, create_trainer, train_with_progress
from memstack_models.data.load import tokenizer_for
from memstack_models.evaluation.comparison import Comparison, recall_text
from memstack_models.evaluation.records import Compared
from memstack_models.report.positions import known_opponent, lines_of
from memstack_models.training import run_folder
from memstack_models.training.bundled import CHECKPOINT

MEMORIES = ("exact/256", "exact/2048", "exact/8192", "exact/65536", "hnsw/8192")
READ = ["eval.documents=4", "eval.tokens=24576", "eval.rows=4"]
TINY = ["train.steps=60"]


class Tiny(Frozen):
    """The tiny model that was trained."""

    backend: str
    steps: int
    losses: tuple[float, ...]
    """Of the logged steps."""


class DemoRecord(Record):
    """What ``memstack demo`` writes."""

    kind: Literal["demo"] = "demo"
    checkpoint: str
    memories: dict[str, Compared]
    corpora: dict[str, dict[str, Compared]] = Field(default_factory=dict)
    """By corpus: with the memory off, and with one."""
    tiny: Tiny


def demo(backend: str, folder: Path) -> None:
    """Run the demo into ``folder``: report.json, report.png and two tables on the terminal."""
    for name in (backend, *(memory.partition("/")[0] for memory in MEMORIES)):
        registry().backend_class(name)  # what is not installed should be said now, not after minutes
    folder.mkdir(parents=True, exist_ok=True)
    tiny = train_tiny(backend)
    comparison = Comparison(run_folder.find(CHECKPOINT), READ)
    for line in comparison.notices():
        say(f"note: {line}")
    compared = compare_with_progress(comparison, memories(MEMORIES, comparison))
    draw(compared, folder)
    OUT.print(table(compared))
    read = read_corpora()
    DemoRecord(checkpoint=CHECKPOINT, memories=compared, corpora=read, tiny=tiny).write(folder / "report.json")
    OUT.print(corpora_table(read))
    first, last = tiny.losses[0], tiny.losses[-1]
    say(f"a tiny model, {tiny.steps} steps with {backend}: loss {first:.2f} -> {last:.2f}")
    say(f"wrote {folder / 'report.json'} and {folder / 'report.png'}")


def train_tiny(backend: str) -> Tiny:
    """Train the tiny recipe for some steps with the backend chosen on the command line."""
    run = run_folder.recipe("tiny", [*TINY, f"memory.backend={backend}"])
    losses: list[float] = []
    with TemporaryDirectory() as folder:
        tokenizer = tokenizer_for(run.data)
        run_folder.create(Path(folder), run, tokenizer)
        trainer = create_trainer(run, Path(folder), tokenizer)
        train_with_progress(trainer, lambda entry: losses.extend([entry.loss] if entry.kind == "step" else []))
    return Tiny(backend=backend, steps=run.train.steps, losses=tuple(losses))


def table(results: Mapping[str, Compared]) -> Table:
    """One line per memory; all have read beyond the first 4k tokens."""
    rows = console.table("memory", right=["perplexity", "beyond 4k tokens", "against none", "bits/byte", "recall"])
    base = results["none"].perplexity_beyond_4k or nan
    for name, result in results.items():
        beyond = result.perplexity_beyond_4k or nan
        against = "" if name == "none" else f"{100 * (beyond / base - 1):+.1f} %"
        recall = "" if name == "none" else recall_text(result, result.recall)
        rows.add_row(name, f"{result.perplexity:.3f}", f"{beyond:.3f}", against, f"{result.bits_per_byte:.3f}", recall)
    return rows


def draw(results: Mapping[str, Compared], folder: Path) -> None:
    """Perplexity by position beside the opponent that is known: ``report.png``, and narrow for small screens."""
    draw_both(lines_of(results), folder / "report.png", known_opponent(run_folder.find(CHECKPOINT), results))
