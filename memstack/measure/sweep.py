"""What the settings of a backend's search space find and cost on recorded keys; report and tune choose by it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import torch

from memstack.contract.errors import MemstackError
from memstack.contract.memory import Memory
from memstack.contract.shape import MemoryShape
from memstack.measure.measurement import Measurement, add_entries, measure_memory
from memstack.measure.recorded import Recorded, Recording
from memstack.plugins.config import Frozen, MemoryConfig
from memstack.plugins.records import RecordedOptions
from memstack.plugins.registry import registry
from memstack.plugins.specs import BackendSpec


class Point(Frozen):
    """One backend with one setting at one size. All times are of one call for all rows and heads together."""

    backend: str
    options: RecordedOptions
    rows: int
    heads: int
    entries: int
    """Capacity of each memory; it was full."""
    queries: int
    """Per row and head and search; as many keys per add."""
    recall: float
    """Fraction of the true neighbours found, by score."""
    attention_mass_recall: float
    search_ms: float
    """Median."""
    add_ms: float
    """Mean of a full memory's, so that those that train or rebuild count."""
    worst_add_ms: float
    fill_s: float
    """Filling the empty memory, in seconds."""
    search_repeats_ms: tuple[float, ...] | None = None
    """Every search that was timed, in order."""
    exact_repeats_ms: tuple[float, ...] | None = None
    """The searches of an exact memory that were made in turns with them, if one was beside."""
    add_quartiles_ms: tuple[float, float] | None = None
    """Between which half of the single adds lay; the rare ones that train or rebuild are beyond."""

    @property
    def step_ms(self) -> float:
        """What one step costs: a search and an add."""
        return self.search_ms + self.add_ms

    @property
    def queries_per_s(self) -> float:
        """Queries answered in a second, of all rows and heads together."""
        return 1e3 * self.rows * self.heads * self.queries / self.search_ms


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What every setting is put through: filled, turned over and asked by a model's own keys and queries."""

    recording: Recording
    rows: int
    heads: int
    entries: int
    neighbours: int
    turnover: float = 1.0
    """How much of the full memory is replaced while its adds are timed. An index is built again about once while all of
    it is: less than 1.0 may miss that, or count it too often."""
    repeats: int = 5
    seed: int = 0
    limit_s: float = inf
    """How long filling may take, and turning over, before TooSlowError."""
    device: str = "cpu"
    """Where the memories lie, as far as a backend's search can run there."""
    beside: Memory | None = None
    """A full exact memory that is asked the same in turns, as ``filled`` makes one."""

    def measure(self, backend: str, options: Mapping[str, Any]) -> Point:
        """Measure one setting of one backend."""
        memory, segment = self._created(backend, options), self.recording.segment
        measured = measure_memory(
            memory,
            "recorded",
            start=self._stream,
            neighbours=self.neighbours,
            chunk=segment,
            queries=(segment,),
            turnover=self.turnover,
            repeats=self.repeats,
            seed=self.seed,
            limit_s=self.limit_s,
            beside=self.beside,
        )
        return self._point(backend, options, measured)

    def filled(self, backend: str) -> Memory:
        """Return a full memory of a backend with its default options, for others to be measured ``beside``."""
        memory = self._created(backend, {})
        add_entries(memory, self._stream(self.shape, self.seed, memory.device), self.entries, self.recording.segment)
        return memory

    @property
    def shape(self) -> MemoryShape:
        """The shape of the memories; values are as wide as keys."""
        dim = self.recording.key_dim
        return MemoryShape(rows=self.rows, heads=self.heads, key_dim=dim, value_dim=dim, capacity=self.entries)

    def _created(self, backend: str, options: Mapping[str, Any]) -> Memory:
        placed = registry().place_options(backend, options, torch.device(self.device))
        return registry().create(backend, self.shape, **placed)

    def _stream(self, shape: MemoryShape, seed: int, device: torch.device) -> Recorded:
        return Recorded(shape, self.recording, seed, device)

    def _point(self, backend: str, options: Mapping[str, Any], measured: Measurement) -> Point:
        segment, beside = self.recording.segment, measured.beside.get(self.recording.segment)
        return Point(
            backend=backend,
            options=dict(options),
            rows=self.rows,
            heads=self.heads,
            entries=self.entries,
            queries=segment,
            recall=measured.recall,
            attention_mass_recall=measured.attention_mass_recall,
            search_ms=measured.search[segment].median_ms,
            add_ms=measured.add.mean_ms,
            worst_add_ms=max(measured.fill.worst_ms, measured.add.worst_ms),
            fill_s=sum(measured.fill.seconds),
            search_repeats_ms=measured.search[segment].repeats_ms,
            exact_repeats_ms=None if beside is None else beside.repeats_ms,
            add_quartiles_ms=measured.add.quartiles_ms,
        )


def installed() -> list[BackendSpec]:
    """Return the backends whose libraries are there, and that can be made by name alone.

    The first is the measure of the others: it is exact, and if several are, the default of the configuration.
    """
    found = [spec for spec in registry().specs() if not spec.missing() and not spec.needs_options]
    return sorted(found, key=lambda spec: (not spec.exact, spec.name != MemoryConfig().backend))


def settings(spec: BackendSpec, stride: int = 1) -> list[dict[str, Any]]:
    """Return every ``stride``-th setting of the search space and its last; then the defaults, unless they are one."""
    every = spec.settings()
    chosen = [setting for i, setting in enumerate(every) if i % stride == 0 or i == len(every) - 1]
    try:
        resolved = [registry().options(spec.name, setting) for setting in every]
        return chosen if registry().options(spec.name, {}) in resolved else [*chosen, {}]
    except MemstackError:  # whoever measures a setting is told what is wrong
        return chosen


def label(backend: str, options: Mapping[str, Any]) -> str:
    """Return the backend with its options, such as ``name, option=3``."""
    return ", ".join([backend, *(f"{name}={value}" for name, value in options.items())])


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in both recall and queries per second, by falling recall."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (-point.recall, point.search_ms)):
        if not best or point.search_ms < best[-1].search_ms:
            best.append(point)
    return best
