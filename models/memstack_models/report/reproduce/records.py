"""What ``memstack reproduce`` writes down: a trained model, a reading of it, and the whole of a table."""

from typing import Literal

from pydantic import NonNegativeInt

from memstack.plugins.config import Frozen
from memstack.plugins.records import Record
from memstack_models.evaluation.records import Compared
from memstack_models.report.reproduce.grid import Grid, Scale


class CurvePoint(Frozen):
    """A validation on the way."""

    step: int
    without: float
    """Perplexity of the validation documents with the memory off."""
    with_memory: float | None = None


class TrainedRecord(Record):
    """A model that is made."""

    kind: Literal["reproduce-trained"] = "reproduce-trained"
    name: str
    parameters: int
    tokens: int
    """Trained on, those of what it begins from included."""
    steps: int
    seconds: float
    """Of its own training, as its log has it."""
    device: str = ""
    """What it was trained on, by its maker's name; empty where that was not noted."""
    curve: tuple[CurvePoint, ...] = ()


class ReadingRecord(Record):
    """A model that read the held-out text with one memory."""

    kind: Literal["reproduce-reading"] = "reproduce-reading"
    label: str
    entries: NonNegativeInt
    compared: Compared | None = None
    """None where it was left out."""
    left_out: str = ""
    """Why."""
    seconds: float = 0.0


class Outcome(Frozen):
    """What came of a reading, against the fair opponent's."""

    label: str
    """The memory: entries in the paper's sizes, ``none``, or a search."""
    entries: NonNegativeInt
    perplexity: float | None = None
    perplexity_beyond_4k: float | None = None
    bits_per_byte: float | None = None
    tokens: int | None = None
    recall: float | None = None
    """1 where the search is exact."""
    change: float | None = None
    """Perplexity over the opponent's, less one: below 0 is better."""
    low: float | None = None
    """Of nineteen of twenty draws of the text's segments."""
    high: float | None = None
    left_out: str = ""


class CellOutcome(Frozen):
    """A model and its readings."""

    cell: str
    corpus: str
    seed: int
    folder: str
    """Below the output folder."""
    parameters: int
    trained_tokens: int
    seconds: float
    device: str = ""
    differs: tuple[str, ...] = ()
    """From its fair opponent, in more than the memory."""
    readings: tuple[Outcome, ...]
    validation: Outcome | None = None
    curve: tuple[CurvePoint, ...] = ()
    steps: int


class ReproduceRecord(Record):
    """What ``memstack reproduce`` writes: ours beside what was published, which is in the grid."""

    kind: Literal["reproduce"] = "reproduce"
    table: str
    scale: Scale
    says: str
    shrink: int
    """What the paper's memory sizes are divided by."""
    command: str
    """That makes it again."""
    grid: Grid
    corpora: tuple[str, ...]
    seeds: int
    cells: tuple[CellOutcome, ...]
    failures: dict[str, str]
    """Why cells are missing."""
    conclusions: tuple[str, ...] = ()
    machine: dict[str, str]
    date: str
