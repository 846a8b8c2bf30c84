"""What ``memstack estimate --entries`` writes down."""

from typing import Literal

from memstack.plugins.config import Frozen
from memstack.plugins.records import Record
from memstack_models.training.sizing.costs import Cost
from memstack_models.training.sizing.store import Asked


class Once(Frozen):
    """What is done once for all entries, by all machines together."""

    core_hours: float
    hours: float
    """By the clock."""


class Timed(Frozen):
    """What a store takes to be filled and asked, and what that costs; of one that fits."""

    load: Once
    index: Once | None = None
    """None where nothing is indexed."""
    search_s: tuple[float, float]
    """A step's search, from the best that was seen to the worst that can be expected; its traffic included."""
    client_s: float
    """Of a rank's own core, in one step."""
    once: float
    """Dollars for loading and indexing."""
    month: float
    """Dollars for holding it, 730 hours long."""
    thousand_steps: float
    """Dollars for the searches of 1,000 steps, at the longer time."""


class Way(Frozen):
    """A store, held in one way."""

    name: Literal["GPUs", "cluster"]
    fits: bool
    why: str
    """In words: what of it there is, or what would do."""
    exact: bool
    """Whether a search misses nothing."""
    places: int
    """GPUs or nodes."""
    bytes: int
    """Of all copies."""
    place_bytes: int
    """Of one GPU, or of the memory of one node."""
    host_bytes: int
    """Beside it, in the memory of a rank's machine."""
    disk_bytes: int
    traffic_bytes: int
    """Received by a rank in a step, forward and backward."""
    timed: Timed | None = None


class Size(Frozen):
    """So many entries, in every way."""

    entries: int
    ways: tuple[Way, ...]


class CostUsed(Cost):
    """A unit cost, of whatever kind."""

    value: float


class SizingRecord(Record):
    """What ``memstack estimate --entries --json`` writes."""

    kind: Literal["sizing"] = "sizing"
    asked: Asked
    sizes: tuple[Size, ...]
    costs: dict[str, CostUsed]
    """By name, as ``gpu.memory``: those that all is made of."""
    never_run: tuple[str, ...]
