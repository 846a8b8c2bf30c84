"""What ``memstack report`` writes down: everything that the page shows."""

from typing import Literal

from memstack.measure import Point
from memstack.plugins.config import Frozen
from memstack.plugins.records import Record, RecordedOptions
from memstack_models.evaluation.records import Compared


class LeftOut(Frozen):
    """A measurement that is not there, and why."""

    part: str
    setting: str
    entries: int
    reason: str


class Read(Compared):
    """The documents read with one memory, or with none."""

    kind: Literal["none", "baseline", "backend"]
    name: str
    """The backend's or the baseline's."""
    options: RecordedOptions


class StepTime(Frozen):
    """The median of whole training steps."""

    backend: str | None = None
    """None is the step without a memory."""
    options: RecordedOptions
    entries: int
    ms: float


class Measured(Frozen):
    """What was measured; the pictures and the conclusions come from it alone."""

    date: str
    seed: int
    target: float
    """The recall that is good enough."""
    quick: bool
    neighbours: int
    rows: int
    heads: int
    """Heads of all memory layers: so many memories in each row."""
    segment: int
    """Queries per head and search, keys per add."""
    key_dim: int
    machine: dict[str, str]
    exact: str
    """The backend that the others are measured against."""
    settings: tuple[Point, ...]
    """Every setting of every backend, at one size."""
    scaling: tuple[Point, ...]
    """At every size the settings of every backend up to the first that reaches the target."""
    perplexity: tuple[Read, ...]
    steps: tuple[StepTime, ...]
    failures: tuple[LeftOut, ...]
    given_up: tuple[LeftOut, ...]
    absent: dict[str, str]
    """The pip line of every backend that is not installed, by its name."""


class Report(Measured, Record):
    """What ``memstack report`` writes."""

    kind: Literal["report"] = "report"
    conclusions: tuple[str, ...]
    checkpoint: str
    entries: int
    """Of the memories of which every setting was measured."""
    capacity: int
    """Of the memories with which documents were read."""
    tokens: int
    """So many of them were read."""
    minutes: float
