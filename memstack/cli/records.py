"""What ``memstack check --json`` writes down."""

from typing import Literal

from memstack.contract.shape import MemoryShape
from memstack.measure import Measurement
from memstack.plugins.config import Frozen
from memstack.plugins.records import Record, RecordedOptions
from memstack.testing.runner import PromiseResult


class Promises(Frozen):
    """How every promise of the contract fared."""

    options: RecordedOptions
    """The backend's test options, and those given."""
    results: tuple[PromiseResult, ...]


class Measurements(Frozen):
    """What was measured on each key set."""

    options: RecordedOptions
    """The backend's default options, and those given."""
    shape: MemoryShape
    results: tuple[Measurement, ...]
    failures: dict[str, str]
    """Why nothing could be measured, by key set."""


class CheckRecord(Record):
    """What ``memstack check --json`` writes."""

    kind: Literal["check"] = "check"
    backend: str
    libraries: tuple[str, ...]
    """What its search needs, with versions."""
    promises: Promises
    measurements: Measurements | None = None
    """None if only the promises were asked for."""
