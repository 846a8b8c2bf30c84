"""Several runs on one text: what differs between them, and what that is worth."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from memstack.cli import console
from memstack_models.data.documents import replaced
from memstack_models.evaluation.comparison import Comparison
from memstack_models.evaluation.records import ComparedRun
from memstack_models.training import checkpoint, run_folder
from memstack_models.training.config import RunConfig

SAME = {
    "model": ("layers", "dim", "heads", "kv_heads", "head_dim", "ffn_dim", "cache", "relative_buckets", "dropout"),
    "train": ("segment", "rows", "optimizer", "learning_rate", "precision"),
    "data": ("corpus", "pattern", "tokenizer"),
}
"""What a run and its opponent without a memory should have in common, beside the tokens that they were trained on."""


def text_of(folder: Path, overrides: Sequence[str] = (), source: str | None = None) -> RunConfig:
    """Return the run of a folder, whose ``[data]`` and ``[eval]`` say what is read: its own corpus, or this one."""
    run = run_folder.read_config(folder, overrides)
    return run.model_copy(update={"data": replaced(run.data, source, run.eval.split)}) if source else run


def differences(run: RunConfig, other: RunConfig, trained: int, other_trained: int) -> list[str]:
    """Return in which settings another run differs but for the memory, a line each with its value and the run's."""
    found = [
        f"{section}.{name} is {theirs!r}, not {ours!r}"
        for section, names in SAME.items()
        for name in names
        if (theirs := _value(other, section, name)) != (ours := _value(run, section, name))
    ]
    if trained != other_trained:
        found.append(f"it was trained on {other_trained:,} tokens, not {trained:,}")
    return found


def trained_tokens(folder: Path, run: RunConfig) -> int:
    """Return how many tokens a run had read at its checkpoint, the padding at the ends of documents included."""
    _, progress = checkpoint.load(folder, "no weights, only how far it is")
    return progress["step"] * run.train.rows * run.train.segment


@dataclass(frozen=True)
class First:
    """What the runs after the first are compared with."""

    tokenizer: str
    perplexity: float
    bits_per_byte: float


def compared_run(
    comparison: Comparison, folder: Path, first: First | None, advance: Callable[[int], None]
) -> ComparedRun:
    """Read the text with a run's own memory; ``first`` is None for the first run itself."""
    run = comparison.run
    memory = run.memory if run.model.memory_layers else None
    read = comparison.evaluate(memory, advance)
    same = first is None or first.tokenizer == comparison.tokenizer.identity
    gain = None
    if first is not None:
        gain = 1 - (read.perplexity / first.perplexity if same else read.bits_per_byte / first.bits_per_byte)
    return ComparedRun(
        **{name: getattr(read, name) for name in ("perplexity", "perplexity_beyond_4k", "bits_per_byte", "tokens")},
        by_position=read.by_position,
        memory=f"{memory.backend}/{memory.capacity}" if memory else "none",
        cache=run.model.cache,
        trained_tokens=comparison.ranks.together(lambda: trained_tokens(folder, run)),
        same_tokens=same,
        gain=gain,
    )


def runs_table(results: Mapping[str, ComparedRun]) -> Table:
    """One line per run: what it is, its perplexity, what it gains against the first, and its perplexity by position."""
    stretches = stretch_titles([result.by_position for result in results.values()])
    titles = ["memory", "cache", "trained", "tokens", "perplexity", "bits/byte", "gain on first"]
    lines = console.table("run", right=[*titles, *stretches.values()])
    for name, result in results.items():
        by_start = {start_of(stretch): value for stretch, value in result.by_position.items()}
        gain = "" if result.gain is None else f"{100 * result.gain:+.2f} %"
        lines.add_row(
            *(Text(name), result.memory, f"{result.cache}", f"{result.trained_tokens:,}", f"{result.tokens:,}"),
            *(f"{result.perplexity:.3f}", f"{result.bits_per_byte:.3f}", gain),
            *(f"{by_start[start]:.3f}" if start in by_start else "" for start in stretches),
        )
    return lines


def stretch_titles(every: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Return where each stretch begins and what it is called, ``16k`` and ``16k-24k``; it may end in several places."""
    titles: dict[str, str] = {}
    for stretch in (stretch for by_position in every for stretch in by_position):
        start = start_of(stretch)
        titles[start] = stretch if titles.get(start, stretch) == stretch else f"{start}+"
    return dict(sorted(titles.items(), key=lambda each: _tokens(each[0])))


def start_of(stretch: str) -> str:
    """Return where a stretch of documents begins: ``16k`` of ``16k-24k``."""
    return stretch.partition("-")[0].removesuffix("+")


def notes(results: Mapping[str, ComparedRun]) -> Iterator[str]:
    """Yield what whoever compares these runs should know."""
    for name, result in results.items():
        if not result.same_tokens:
            yield f"{name} has another tokeniser than {next(iter(results))}: its gain is one of bits per byte"


def _value(run: RunConfig, section: str, name: str) -> Any:
    return getattr(getattr(run, section), name)


def _tokens(start: str) -> float:
    return float(start.removesuffix("k")) * (1024 if start.endswith("k") else 1)
