"""What ``eval``, ``compare`` and ``tune`` write down."""

from typing import Literal

from memstack.measure import Point
from memstack.plugins.config import Frozen
from memstack.plugins.records import Record, RecordedOptions
from memstack_models.training.records import Perplexity, Recall


class Milliseconds(Frozen):
    """What a segment costs in the memories, all layers and rows together, after as many segments as fill a memory.

    Read as many rows as documents: where a row goes on to another document, its memory begins empty again.
    """

    search: float
    """Median."""
    add: float
    """Median."""
    worst_add: float
    """The one that trains or rebuilds; of all segments."""


class Compared(Perplexity, Recall):
    """What one memory did with the text; its recall is None where search is exact."""

    ms: Milliseconds | None = None
    """None without a memory."""


class Trial(Frozen):
    """One setting that was tried, and why nothing or no more came of it."""

    backend: str
    options: RecordedOptions
    point: Point | None = None
    """None if it failed or was given up."""
    note: str = ""
    failed: bool = False


class EvalRecord(Record):
    """What ``memstack eval --json`` writes."""

    kind: Literal["eval"] = "eval"
    checkpoint: str
    memories: dict[str, Perplexity]
    """By backend and entries, ``exact/8192``; without a memory ``none``."""


class CompareRecord(Record):
    """What ``memstack compare --json`` writes."""

    kind: Literal["compare"] = "compare"
    checkpoint: str
    memories: dict[str, Compared]
    """By backend, options and entries, ``hnsw,m=8/8192``; without a memory ``none``."""
    failures: dict[str, str]
    """Why others could not be compared, by the same names."""


class TuneRecord(Record):
    """What ``memstack tune --json`` writes."""

    kind: Literal["tune"] = "tune"
    checkpoint: str
    target: float
    """The recall that was asked for."""
    best: Point
    reasons: str
    trials: tuple[Trial, ...]
    """Exact search first."""
