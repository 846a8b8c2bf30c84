"""What ``eval``, ``compare`` and ``tune`` write down."""

from typing import Literal

from pydantic import NonNegativeInt

from memstack.measure import Point
from memstack.plugins.config import Frozen
from memstack.plugins.records import Record, RecordedOptions
from memstack_models.evaluation.spread import Segments
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
    """What one memory did with the text; its recall is None where search is exact, and where nothing was measured."""

    exact: bool | None = None
    """Whether the search misses nothing; None without a memory."""
    ms: Milliseconds | None = None
    """None without a memory."""
    segments: Segments | None = None
    """The losses behind the perplexity, for its spread; None in records from before they were kept."""


class Trial(Frozen):
    """One setting that was tried, and why nothing or no more came of it."""

    backend: str
    options: RecordedOptions
    point: Point | None = None
    """None if it failed or was given up."""
    note: str = ""
    failed: bool = False


class DocumentPerplexity(Frozen):
    """What came of one document."""

    name: str
    """On one line: what cannot be printed is escaped."""
    tokens: NonNegativeInt
    perplexity: float
    """Per token."""
    bits_per_byte: float


class Evaluated(Perplexity):
    """What a model made of the documents, all together and each."""

    by_document: tuple[DocumentPerplexity, ...] = ()
    """The longest first."""


class Opponent(Evaluated):
    """A model without a memory that has read the same text."""

    checkpoint: str
    differs: tuple[str, ...] = ()
    """What differs but the memory, a line each: a fair opponent differs in nothing else."""


class EvalRecord(Record):
    """What ``memstack eval --json`` writes."""

    kind: Literal["eval"] = "eval"
    checkpoint: str
    memories: dict[str, Evaluated]
    """By backend and entries, ``exact/8192``; without a memory ``none``."""
    opponent: Opponent | None = None


class ComparedRun(Perplexity):
    """What one of several runs made of the text."""

    memory: str
    """Backend and entries, ``exact/8192``; ``none`` without a memory."""
    cache: int
    """Tokens of its Transformer-XL cache."""
    trained_tokens: int
    """Read in training until the checkpoint, some of them more than once."""
    same_tokens: bool
    """Whether its tokeniser is that of the first run; else only bits per byte can be compared."""
    gain: float | None = None
    """The part of the first run's perplexity that this one saves; of its bits per byte with another tokeniser."""


class RunsRecord(Record):
    """What ``memstack compare RUN RUN ... --json`` writes."""

    kind: Literal["compare-runs"] = "compare-runs"
    runs: dict[str, ComparedRun]
    """By their names on the command line."""
    failures: dict[str, str]
    """Why others could not be compared, by the same names."""


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
