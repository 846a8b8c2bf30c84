"""What ``memstack check --json`` writes down."""

from typing import Literal

from pydantic import Field

from memstack.contract.shape import MemoryShape
from memstack.measure import Measurement
from memstack.plugins.config import Frozen
from memstack.plugins.records import Record, RecordedOptions
from memstack.testing.runner import PromiseResult
from memstack.testing.thorough.report import Tried


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
    beside: dict[str, tuple[Measurement, ...]] = Field(default_factory=dict[str, tuple[Measurement, ...]])
    """What others did with the same keys, with their default options, by backend."""


class CheckRecord(Record):
    """What ``memstack check --json`` writes."""

    kind: Literal["check"] = "check"
    backend: str
    libraries: tuple[str, ...]
    """What its search needs, with versions."""
    promises: Promises
    measurements: Measurements | None = None
    """None if only the promises were asked for."""


class ThoroughRecord(Record):
    """What ``memstack check --thorough --json`` writes."""

    kind: Literal["thorough-check"] = "thorough-check"
    backend: str
    libraries: tuple[str, ...]
    """What its search needs, with versions."""
    options: RecordedOptions
    """Those given, which were set in every attempt; the others were drawn."""
    seed: int
    """Repeats every attempt; how many there are is said by ``tried``."""
    tried: tuple[Tried, ...]
