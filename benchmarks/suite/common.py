"""What the benchmark files share: the backends in their order, a cell of the grid, what a cell may cost, the folder."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch

from memstack import Memory, MemoryShape
from memstack.measure import KEY_SETS, KeyStream
from memstack.measure.measurement import CHUNK, add_entries
from memstack.measure.recorded import Recorded
from memstack.plugins.registry import registry

BUNDLED = ["exact", "bucketed", "faiss-ivf", "hnsw", "jax", "scann"]
OTHERS = [spec.name for spec in registry().specs() if spec.name not in BUNDLED and not spec.needs_options]
BACKENDS = [*BUNDLED, *dict.fromkeys(OTHERS)]
"""The bundled backends in a fixed order, then those of plugins: asv knows a result by its parameters' values."""
KEYS = [*KEY_SETS, "recorded"]
RECORDED_DIM, RECORDED_ENTRIES = 32, 1 << 16
"""What the shipped checkpoint's keys measure, and how many fill a memory at most: more would take minutes to record."""
SEGMENT = 256
"""What the shipped checkpoint reads, and asks, at once: so many keys more are recorded, for they are still to come when
a memory is asked the queries beside them."""

FILLED = {"exact": 1 << 22, "bucketed": 1 << 20, "jax": 1 << 20, "faiss-ivf": 1 << 20, "hnsw": 1 << 17}
FILLED_BY_OTHERS = 1 << 18
"""Keys, of all memories together, that a benchmark may give a backend: what it takes in, and a step searches, within
some twenty seconds on two cores. MEMSTACK_BENCH_SCALE multiplies them, on a machine or for an evening that has more."""
SCALE = float(os.environ.get("MEMSTACK_BENCH_SCALE", "1"))
DEVICE = os.environ.get("MEMSTACK_BENCH_DEVICE", "cpu")
"""Where memories lie whose backend can search there."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of the grid; its defaults are the base case, from which a benchmark varies an axis or two."""

    backend: str
    key_set: str = "drifting"
    entries: int = 4096
    memories: int = 8
    queries: int = 64
    """Per memory."""
    dim: int = 64
    k: int = 32

    @property
    def shape(self) -> MemoryShape:
        """Up to 8 heads, then further rows."""
        heads = min(8, self.memories)
        dim = RECORDED_DIM if self.key_set == "recorded" else self.dim
        return MemoryShape(rows=self.memories // heads, heads=heads, key_dim=dim, value_dim=dim, capacity=self.entries)

    def require(self) -> None:
        """Skip the cell, with the reason, if a library is missing or it is declared to cost too much."""
        require_installed(self.backend)
        require_affordable(self.backend, self.entries * self.memories)
        if self.key_set == "recorded" and self.entries > RECORDED_ENTRIES:
            raise NotImplementedError(f"recorded keys fill {RECORDED_ENTRIES:,} entries, not {self.entries:,}")

    def memory(self) -> Memory:
        """A new memory, empty."""
        return create(self.backend, self.shape)

    def filled(self) -> tuple[Memory, KeyStream]:
        """A full memory, an eighth of which has been replaced, warm; and the stream of its keys."""
        memory = self.memory()
        keys = stream(self.key_set, self.shape)
        # Large memories in larger chunks: it is not the adds that are measured on them.
        add_entries(memory, keys, self.entries + self.entries // 8, max(CHUNK, self.entries // 64))
        memory.search(keys.queries(self.queries), self.k)
        return memory, keys


def cell_of(names: Sequence[str], params: Sequence[object], base: Mapping[str, object]) -> Cell:
    """The cell that a benchmark's parameters describe, or the reason to skip it."""
    axes: dict[str, Any] = {**base, **dict(zip(names, params, strict=True))}
    cell = Cell(**axes)
    cell.require()
    return cell


def require_installed(backend: str) -> None:
    """Skip with the reason if a library of the backend is missing."""
    spec = registry().spec(backend)
    if missing := spec.missing():
        raise NotImplementedError(f"backend {backend!r} needs {', '.join(missing)}: {spec.pip_line}")


def require_affordable(backend: str, keys: int) -> None:
    """Skip with the reason if filling would take too long: declared, so that a failure is never taken for it."""
    most = int(SCALE * FILLED.get(backend, FILLED_BY_OTHERS))
    if keys > most:
        raise NotImplementedError(f"{backend!r} is given up to {most:,} keys here, this cell has {keys:,}")


def create(backend: str, shape: MemoryShape) -> Memory:
    """A new memory of a backend with its default options, on the device of this run if it can search there."""
    return registry().create(backend, shape, **registry().place_options(backend, {}, torch.device(DEVICE)))


def stream(key_set: str, shape: MemoryShape, seed: int = 0) -> KeyStream:
    """The keys of a key set; ``recorded`` ones are those of the shipped checkpoint on held-out documents."""
    if key_set != "recorded":
        return KEY_SETS[key_set](shape, seed, DEVICE)
    from memstack_models.evaluation.recording import recording

    return Recorded(shape, recording(entries=RECORDED_ENTRIES + SEGMENT), seed, DEVICE)


def device_of(memory: Memory) -> torch.device:
    """Where a memory is searched, by the name in the benchmarks' text, which asv tells results apart by."""
    return memory.device


class SharedFolder:
    """asv gives benchmarks that have a ``setup_cache`` one working folder for the length of a run."""

    def setup_cache(self) -> None:
        """There is nothing to put into it beforehand."""


def once(cell: object, measure: Callable[[], Mapping[str, float]]) -> dict[str, float]:
    """Return what was measured for a cell. Several ``track_`` benchmarks are numbers of one measurement: the first of
    them to run makes it and leaves it in the shared folder for the others. If it fails, each of them fails."""
    file = Path(f"{quote(str(cell), safe='')}.json")
    if not file.exists():
        file.write_text(json.dumps(dict(measure())), encoding="utf-8")
    return json.loads(file.read_text(encoding="utf-8"))


def key_of(name: str, cell: Cell) -> str:
    """What a cell's file is called: the benchmark's name and every axis."""
    return "-".join([name, *map(str, asdict(cell).values())])


def set_unit(unit: str, *benchmarks: Callable[..., float]) -> None:
    """Say in what unit ``track_`` benchmarks count: asv reads it off each function."""
    for benchmark in benchmarks:
        benchmark.__dict__["unit"] = unit
