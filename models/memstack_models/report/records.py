"""What ``memstack report`` writes down: everything that the page shows."""

from typing import Literal

from memstack.measure import Point
from memstack.measure.hardware import Load
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
    """The documents read with one memory, with none, or by another model."""

    kind: Literal["none", "baseline", "backend", "opponent"]
    name: str
    """The backend's, the baseline's, or the other model's."""
    options: RecordedOptions


class StepTime(Frozen):
    """The median of whole training steps."""

    backend: str | None = None
    """None is the step without a memory."""
    options: RecordedOptions
    entries: int
    ms: float
    repeats_ms: tuple[float, ...] | None = None
    """Every step that was timed, in order."""
    without_repeats_ms: tuple[float, ...] | None = None
    """The steps of the same model without a memory that were made in turns with them."""


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
    load_before: Load | None = None
    """What the machine was doing at the start; None where its system does not tell, and in older records."""
    load_after: Load | None = None
    """And at the end, when this process's own threads are in it."""
    threads: int | None = None
    """Of this process, that compute at once."""
    taken_over: int | None = None
    """Measurements that came from a report which was cut short; None if none did."""
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
