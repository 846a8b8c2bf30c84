"""What is drawn by position in the document: memories, and opponents, which have none.

A model that has learned to lean on its memory is crippled without it; what a memory is worth shows against a model of
the same context and cache that was trained without one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from memstack.plugins.records import Record
from memstack_models.evaluation.records import Compared
from memstack_models.evaluation.spread import Segments

FILE = "opponent.json"
OFF = "this model, memory off"


@dataclass(frozen=True)
class PositionLine:
    """Perplexity by position of one memory or model."""

    name: str
    by_position: Mapping[str, float]
    segments: Segments | None = None
    """For its spread, where the losses are known."""
    kind: Literal["memory", "off", "opponent"] = "memory"


class OpponentRecord(Record):
    """What is kept of a checkpoint's opponent beside it, so that it need not be trained to be compared with."""

    kind: Literal["opponent"] = "opponent"
    name: str
    """What pictures call it."""
    trained_by: str
    """The command."""
    split: str
    tokens: int
    """That it predicted: only another model of just as many is compared with it."""
    perplexity: float
    perplexity_beyond_4k: float


def lines_of(results: Mapping[str, Compared]) -> list[PositionLine]:
    """A line for each memory; ``none`` is this model with its memory off."""
    return [
        PositionLine(OFF, result.by_position, result.segments, "off")
        if name == "none"
        else PositionLine(name, result.by_position, result.segments)
        for name, result in results.items()
    ]


def known_opponent(folder: Path, results: Mapping[str, Compared]) -> OpponentRecord | None:
    """The opponent kept beside a checkpoint, if there is one and it read as much text as all of these results."""
    if not (folder / FILE).is_file():
        return None
    opponent = OpponentRecord.read(folder / FILE)
    return opponent if {result.tokens for result in results.values()} == {opponent.tokens} else None
