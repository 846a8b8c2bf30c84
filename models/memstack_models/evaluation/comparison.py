"""One checkpoint, one text, several memories: perplexity, recall on real keys, and what search and add cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from memstack import Memory, MemoryShape
from memstack.plugins import config as configuration
from memstack.plugins.config import MemoryConfig, ProbeConfig
from memstack.plugins.registry import registry
from memstack_models.data.load import tokenized
from memstack_models.training import run_folder
from memstack_models.training.device import pick_device
from memstack_models.training.monitoring import MemoryMonitor, probed_entry
from memstack_models.training.perplexity import Evaluation, evaluate
from memstack_models.training.streams import evaluation_stream

Advance = Callable[[int], None]
PROBE = ProbeConfig(every=8)
TIMES = ("search", "add", "worst add")
PROBED = ("recall", "attention-mass recall", "age")


@dataclass(frozen=True)
class Compared:
    """What one memory did with the text."""

    evaluation: Evaluation
    probed: dict[str, Any]
    """Mean recall, attention-mass recall and age of what was retrieved; empty where search is exact."""
    milliseconds: dict[str, float]
    """Median of search and add per segment, all layers and rows together, after as many segments as fill a memory; and
    the worst add, which is the one that trains or rebuilds. Empty without a memory. Read as many rows as documents:
    where a row goes on to another document, its memory begins empty again."""

    def numbers(self) -> dict[str, Any]:
        """Everything as plain numbers."""
        return {**self.evaluation.summary(), **self.probed, "ms": self.milliseconds}


class Comparison:
    """A checkpoint and the documents it is evaluated on, ready for one memory after the other."""

    def __init__(self, folder: Path, overrides: Sequence[str] = (), probe: ProbeConfig = PROBE) -> None:
        self.run = run_folder.read_config(folder, overrides)
        self.probe = probe
        self.device = pick_device(self.run.train.device)
        self.model, self.tokenizer = run_folder.load_model(folder, self.run, self.device)
        limits = self.run.eval
        corpus = tokenized(self.run.data, limits.split, self.tokenizer, limits.tokens, limits.documents)
        self.documents = corpus.documents

    @property
    def tokens(self) -> int:
        """How many tokens an evaluation predicts."""
        return evaluation_stream(self.run, self.documents, self.device, None).reader.predicted_tokens

    def evaluate(
        self,
        memory: MemoryConfig | None,
        advance: Advance = lambda tokens: None,
        baseline: Callable[[MemoryShape], Memory] | None = None,
    ) -> Compared:
        """Read the documents with this memory, or with none; ``baseline`` makes another of its shape, no backend's."""
        stream = evaluation_stream(self.run, self.documents, self.device, memory)
        if baseline is not None:
            stream.memories = [baseline(inside.shape) for inside in stream.memories]
        exact = False if baseline else None
        watch = MemoryMonitor(stream, self.model, memory or self.run.memory, self.probe, exact, self.device)
        segments: list[dict[str, float]] = []

        def segment_read(tokens: int) -> None:
            segments.append(watch.take_seconds())
            advance(tokens)

        result = evaluate(self.model, stream, self.tokenizer.token_bytes, segment_read)
        full_after = (memory.capacity if memory else 0) // self.run.train.segment
        times = _milliseconds(segments, full_after) if memory else {}
        return Compared(result, probed_entry(watch.take_probed()), times)


def memory_of(text: str, capacity: int, neighbours: int) -> MemoryConfig:
    """Read ``backend`` or ``backend,option=value,...``; the backend checks its options."""
    name, *options = text.split(",")
    given = configuration.apply({}, options)
    registry().options(name, given)
    return MemoryConfig(backend=name, capacity=capacity, neighbours=neighbours, options=given)


def comparison_table(results: dict[str, Compared], against: str, anchors: dict[str, str]) -> str:
    """One line per memory, as Markdown; ``anchors`` names for each the memory whose search is the unit of its times."""
    titles = ("backend/entries", "perplexity", f"against {against}", "recall", "attention mass", *TIMES)
    lines: list[tuple[str, ...]] = [titles, ("---",) * len(titles)]
    for name, result in results.items():
        cells = [name, f"{result.evaluation.perplexity():.3f}"]
        if anchor := results.get(anchors.get(name, "")):
            cells.append(f"{100 * (result.evaluation.perplexity() / anchor.evaluation.perplexity() - 1):+.2f} %")
            cells += [f"{result.probed[key]:.3f}" if result.probed else "exact" for key in PROBED[:2]]
            cells += [f"{result.milliseconds[key] / anchor.milliseconds['search']:.2f}" for key in TIMES]
        lines.append((*cells, *[""] * (len(titles) - len(cells))))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _milliseconds(segments: Sequence[dict[str, float]], full_after: int) -> dict[str, float]:
    """A memory that never fills is timed where it is fullest: over the last quarter of what it read."""
    full = segments[full_after:] or segments[-max(1, len(segments) // 4) :]
    return {
        "search": 1e3 * median(one["search"] for one in full),
        "add": 1e3 * median(one["add"] for one in full),
        "worst add": 1e3 * max(one["add"] for one in segments),
    }
