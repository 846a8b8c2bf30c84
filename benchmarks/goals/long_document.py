"""A document longer than a full memory of 262,144 entries, read: ``python -m benchmarks.goals.long_document``.

A tiny model is trained on the books of ``examples/data``, byte by byte, and reads the longest of its test documents, a
whole book, as ``memstack eval`` does. By position it prints the most memory that the process held, mapped files apart,
the seconds that a core spent on a segment, and the perplexity; Linux only.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from memstack_models.cli.work import evaluate_with_progress
from memstack_models.data.load import tokenized, tokenizer_for
from memstack_models.data.reader import IGNORED, Segment
from memstack_models.data.tokenized import TokenizedCorpus
from memstack_models.training import run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.device import pick_device
from memstack_models.training.streams import evaluation_stream
from torch import Tensor
from typer import echo

from benchmarks.goals.on_disk import Peak, held
from memstack.contract.metrics import perplexity

BOOKS = Path(__file__).parents[2] / "examples" / "data" / "books"
SETTINGS = (
    f"data.corpus={BOOKS}",
    "data.tokenizer=bytes",
    "memory.capacity=262144",
    "train.rows=2",
    "train.segment=512",
    "train.validate_every=0",
    "eval.documents=1",
    "eval.tokens=393216",
)
STRETCH = 1 << 15
GOAL = 100
"""MB that reading may take beside what is stored, however long the document is."""


def main(
    steps: Annotated[int, typer.Option(help="Steps of training.")] = 200,
    set_: Annotated[list[str], typer.Option("--set", help="Override a value of the recipe.")] = [],  # noqa: B006
) -> None:
    """Print memory and seconds by position, and the memory taken beside its goal."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        train([*SETTINGS, f"train.steps={steps}", *set_], folder)
        run = run_folder.read_config(folder)
        corpus = tokenized(run.data, run.eval.split, tokenizer_for(run.data), run.eval.tokens, run.eval.documents)
        echo(f"{corpus.names[0]}: {len(corpus.documents[0]):,} tokens, {run.memory.capacity:,} entries")
        report(read(run, folder, corpus), stored_mb(run))


def train(settings: Sequence[str], folder: Path) -> None:
    """Train in a process of its own, of whose memory nothing is left."""
    chosen = [part for setting in settings for part in ("--set", setting)]
    line = [sys.executable, "-m", "memstack", "train", "tiny", "--out", str(folder), *chosen]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)


@dataclass
class Watch:
    """What was seen after each segment."""

    positions: list[int] = field(default_factory=list[int])
    seconds: list[float] = field(default_factory=list[float])
    memory: list[float] = field(default_factory=list[float])
    """MB."""
    nats: list[float] = field(default_factory=list[float])
    tokens: list[int] = field(default_factory=list[int])
    before: float = field(default_factory=held)
    peak: float = 0.0
    _last: float = field(default_factory=time.process_time)

    def observe(self, segment: Segment, nats: Tensor, _new: object = None) -> None:
        """Note a segment's end; what comes before the next one's is the next one's time."""
        now = time.process_time()
        self.seconds.append(now - self._last)
        self.positions.append(int(segment.offset[0]))
        self.memory.append(held())
        self.nats.append(float(nats.sum()))
        self.tokens.append(int((segment.targets != IGNORED).sum()))
        self._last = time.process_time()


def read(run: RunConfig, folder: Path, corpus: TokenizedCorpus) -> Watch:
    """Read the document with a new memory."""
    device = pick_device(run.train.device)
    model, tokenizer = run_folder.load_model(folder, run, device)
    watch, peak = Watch(), Peak()
    stream = evaluation_stream(run, corpus.documents, device, run.memory)
    evaluate_with_progress("reading", model, stream, tokenizer, watch.observe)
    watch.peak = peak.stop()
    return watch


def stored_mb(run: RunConfig) -> float:
    """What the memories' keys and values take at the very least."""
    vectors = len(run.model.memory_layers) * run.model.kv_heads * run.memory.capacity
    return vectors * 2 * run.model.head_dim * 4 / (1 << 20)


def report(watch: Watch, stored: float) -> None:
    """Print a line per stretch, and the whole."""
    echo(f"{'tokens read':>11}  {'memory, MB':>10}  {'s/segment':>9}  perplexity")
    last = watch.positions[-1]
    for start in range(0, last + 1, STRETCH):
        part = [i for i, place in enumerate(watch.positions) if start <= place < start + STRETCH]
        echo(
            f"{min(start + STRETCH, last + max(watch.tokens)):11,}  {max(_of(watch.memory, part)):10.0f}  "
            f"{statistics.median(_of(watch.seconds, part)):9.3f}  "
            f"{perplexity(sum(_of(watch.nats, part)), int(sum(_of(watch.tokens, part)))):10.2f}"
        )
    beside = watch.peak - watch.before - stored
    echo(
        f"at its peak {watch.peak - watch.before:.0f} MB more than before, {stored:.0f} of which are keys and values; "
        f"beside them {beside:.0f} (goal {GOAL})"
    )


def _of(numbers: Sequence[float], part: Sequence[int]) -> list[float]:
    return [numbers[i] for i in part]


if __name__ == "__main__":
    typer.run(main)
