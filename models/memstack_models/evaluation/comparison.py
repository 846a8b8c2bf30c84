"""One checkpoint, one text, several memories: perplexity, recall on real keys, and what search and add cost."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from rich.table import Table

from memstack import Memory, MemoryShape
from memstack.cli import console
from memstack.plugins import config as configuration
from memstack.plugins.config import MemoryConfig, ProbeConfig
from memstack.plugins.registry import registry
from memstack_models.data.load import tokenized
from memstack_models.data.tokenized import short_documents
from memstack_models.evaluation.losses import TokenLosses
from memstack_models.evaluation.records import Compared, Milliseconds
from memstack_models.training import run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.device import pick_device
from memstack_models.training.monitoring import MemoryMonitor, probed_entry
from memstack_models.training.perplexity import evaluate
from memstack_models.training.ranks import ALONE, Ranks
from memstack_models.training.stream import Stream
from memstack_models.training.streams import check_documents, evaluation_stream, grouped

Advance = Callable[[int], None]
PROBE = ProbeConfig(every=8)
FEWEST = 8
"""So many searches of the longest document are compared with exact search, however short it is."""
TITLES = ("recall", "attention mass", "search", "add", "worst add")


class Comparison:
    """A checkpoint and the documents it is evaluated on, ready for one memory after the other.

    ``text`` is the run whose ``[data]`` and ``[eval]`` say what is read; by default that of the folder. Of several
    ``ranks`` each makes one, and reads its share of the rows.
    """

    def __init__(
        self,
        folder: Path,
        overrides: Sequence[str] = (),
        probe: ProbeConfig = PROBE,
        text: RunConfig | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        own = run_folder.read_config(folder, overrides)
        self.run = own.model_copy(update={"eval": text.eval}) if text else own
        self.ranks = grouped(ranks, self.run, self.run.memory)
        self.probe = probe
        self.device = pick_device(self.run.train.device)
        self.model, self.tokenizer = run_folder.load_model(folder, self.run, self.device)
        limits = self.run.eval
        data = (text or own).data
        self.corpus = tokenized(data, limits.split, self.tokenizer, limits.tokens, limits.documents)
        self.documents = self.corpus.documents

    def notices(self) -> list[str]:
        """Return lines that whoever reads the results should see: how the corpus was split, what was left out of it."""
        return list(filter(None, (self.corpus.notice, short_documents(self.corpus, self.run.train.segment))))

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
        """Read the documents with this memory, or with none; ``baseline`` makes another of its shape, no backend's.

        Every rank returns what all have read; recall, times and segments the first one alone.
        """
        ranks, losses, segments = self.ranks, TokenLosses(), list[dict[str, float]]()
        stream, watch, exact = ranks.together(lambda: self._watched(memory, baseline))
        check_documents([stream], ranks)

        def segment_read(tokens: int) -> None:
            segments.append(watch.take_seconds())
            advance(tokens)

        token_bytes = self.tokenizer.token_bytes
        read = ranks.together(lambda: evaluate(self.model, stream, token_bytes, segment_read, losses.observe))
        result, losses = read.over(ranks).result(), losses.over(ranks)
        segments, found = _slowest(segments, ranks), probed_entry(watch.take_probed_over(ranks))
        if not ranks.first:
            return Compared(**dict(result), exact=exact)
        full_after = (memory.capacity if memory else 0) // self.run.train.segment
        times = _milliseconds(segments, full_after) if memory else None
        return Compared(**dict(result), **dict(found), exact=exact, ms=times, segments=losses.segments())

    def _watched(
        self, memory: MemoryConfig | None, baseline: Callable[[MemoryShape], Memory] | None
    ) -> tuple[Stream, MemoryMonitor, bool | None]:
        """A stream, what watches its memories, and whether they miss nothing; None if there are none."""
        stream = evaluation_stream(self.run, self.documents, self.device, memory, self.ranks, self.model)
        bank = stream.bank.wrapped(lambda inside: baseline(inside.shape)) if baseline else stream.bank
        watch = MemoryMonitor(bank, self.model, self._dense_probe(), self.device)
        exact = all(inside.exact for inside in bank.values()) if len(bank) else None
        return replace(stream, bank=watch.bank), watch, exact

    def _dense_probe(self) -> ProbeConfig:
        """The probe, often enough for documents in which it would come upon few searches, or upon none."""
        segments = -(-(max(map(len, self.documents)) - 1) // self.run.train.segment)
        every = min(self.probe.every, max(1, segments // FEWEST))
        return self.probe.model_copy(update={"every": every})


def memory_of(text: str, capacity: int, neighbours: int) -> MemoryConfig:
    """Read ``backend`` or ``backend,option=value,...``; the backend checks its options, and its secrets are sealed."""
    name, *options = text.split(",")
    given = configuration.apply({}, options)
    registry().options(name, given)
    sealed = registry().sealed(name, given)
    return MemoryConfig(backend=name, capacity=capacity, neighbours=neighbours, options=sealed)


def memory_name(memory: MemoryConfig) -> str:
    """Return the text that ``memory_of`` reads as this memory, any secret in asterisks."""
    return ",".join([memory.backend, *(f"{name}={value}" for name, value in memory.options.items())])


def comparison_table(results: dict[str, Compared], against: str, anchors: dict[str, str]) -> Table:
    """One line per memory; ``anchors`` names for each the memory whose search is the unit of its times."""
    lines = console.table("backend/entries", right=["perplexity", f"against {against}", *TITLES])
    for name, result in results.items():
        cells = [name, f"{result.perplexity:.3f}"]
        anchor = results.get(anchors.get(name, ""))
        if anchor is not None and anchor.ms is not None and result.ms is not None:
            shares = result.recall, result.attention_mass_recall
            cells.append(f"{100 * (result.perplexity / anchor.perplexity - 1):+.2f} %")
            cells += [recall_text(result, share) for share in shares]
            times = result.ms.search, result.ms.add, result.ms.worst_add
            cells += [f"{time / anchor.ms.search:.2f}" for time in times]
        lines.add_row(*cells)
    return lines


def recall_text(result: Compared, share: float | None) -> str:
    """Return a recall as a table shows it: where there is no number, whether that is so because the search is exact."""
    if share is not None:
        return f"{share:.3f}"
    return "exact" if result.exact else "not measured"


def _slowest(segments: list[dict[str, float]], ranks: Ranks) -> list[dict[str, float]]:
    """Of each segment, the seconds of the rank that took longest, on the first rank: the others have waited for it."""
    if ranks.size == 1:
        return segments
    verbs = list(segments[0])
    own = torch.tensor([[each[verb] for verb in verbs] for each in segments], dtype=torch.float64, device="cpu")
    every = ranks.gathered(own)
    slowest = torch.stack(every).amax(0).tolist() if ranks.first else []
    return [dict(zip(verbs, each, strict=True)) for each in slowest]


def _milliseconds(segments: Sequence[dict[str, float]], full_after: int) -> Milliseconds:
    """A memory that never fills is timed where it is fullest: over the last quarter of what it read."""
    full = segments[full_after:] or segments[-max(1, len(segments) // 4) :]
    return Milliseconds(
        search=1e3 * median(one["search"] for one in full),
        add=1e3 * median(one["add"] for one in full),
        worst_add=1e3 * max(one["add"] for one in segments),
    )
