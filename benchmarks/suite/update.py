"""What writing costs: filling, adding to a full memory, resetting a row, and what whole life cycles wait for."""

from collections.abc import Mapping
from typing import Any

import torch

from memstack import MemoryShape
from memstack.measure.measurement import CHUNK
from memstack.measure.runbooks import RUNBOOKS, play
from memstack.measure.timing import Timing, timed

from .common import (
    BACKENDS,
    SCALE,
    SharedFolder,
    cell_of,
    create,
    device_of,
    once,
    require_affordable,
    require_installed,
    set_unit,
    stream,
)


class _Update:
    base: Mapping[str, object] = {"memories": 1}
    rounds, number, warmup_time, repeat, timeout = 1, 1, 0.0, (3, 16, 3.0), 240
    memory: Any = None
    """A Memory from the first setup on."""


class Fill(_Update):
    """Seconds that filling an empty memory takes, by adds of 256 entries; training and rebuilding are in it."""

    params = (BACKENDS, [512, 8192, 32768])
    param_names = ("backend", "entries")
    repeat = (1, 3, 2.0)

    def setup(self, *params: object) -> None:
        if self.memory is None:
            self.cell = cell_of(self.param_names, params, self.base)
            self.memory = self.cell.memory()
            keys = stream(self.cell.key_set, self.cell.shape)
            self.chunks = [keys.keys(CHUNK) for _ in range(self.cell.entries // CHUNK)]
            self.memory.add(self.chunks[0], self.chunks[0])  # what a library loads at first is not the memory's cost
        self.memory.reset()

    def time_fill(self, *params: object) -> None:
        timed(self._fill, device_of(self.memory))

    def _fill(self) -> None:
        for keys in self.chunks:
            self.memory.add(keys, keys)


class AddToFull(_Update):
    """Seconds of one add of 256 entries to a full memory: each of them takes the place of the oldest."""

    params = (BACKENDS, [512, 8192, 32768])
    param_names = ("backend", "entries")

    def setup(self, *params: object) -> None:
        if self.memory is None:
            self.cell = cell_of(self.param_names, params, self.base)
            self.memory, self.stream = self.cell.filled()
        self.keys = self.stream.keys(CHUNK)

    def time_add(self, *params: object) -> None:
        timed(lambda: self.memory.add(self.keys, self.keys), device_of(self.memory))


class Reset(_Update):
    """Seconds of resetting one full row out of eight, of one head each; every sample resets another row."""

    params = (BACKENDS, [512, 4096])
    param_names = ("backend", "entries")
    rows, repeat = 8, (8, 8, 10.0)

    def setup(self, *params: object) -> None:
        if self.memory is None:
            self.cell = cell_of(self.param_names, params, {})
            memories = MemoryShape(rows=self.rows, heads=1, key_dim=64, value_dim=64, capacity=self.cell.entries)
            self.memory, self.next_row = create(self.cell.backend, memories), 0
            keys = stream(self.cell.key_set, memories)
            for _ in range(self.cell.entries // CHUNK):
                self.memory.add(chunk := keys.keys(CHUNK), chunk)
        self.row = torch.arange(self.rows) == self.next_row
        self.next_row += 1

    def time_reset(self, *params: object) -> None:
        timed(lambda: self.memory.reset(self.row), device_of(self.memory))


class LifeCycle(SharedFolder):
    """Milliseconds of the verbs while memories live through a runbook of ``memstack.measure.runbooks``.

    All rows and heads together, with adds of 256 entries and as many queries per memory. The worst add is the one that
    trains or rebuilds; the worst step is what a training loop waits for. Every runbook is gone through twice, and the
    second time counts: what a library compiles at a size it has not met is paid once in a process.
    MEMSTACK_BENCH_SCALE=32 makes the long document one of a million tokens.
    """

    params = (BACKENDS, list(RUNBOOKS))
    param_names = ("backend", "runbook")
    timeout = 240 * max(1, SCALE)
    shapes: Mapping[str, tuple[int, int, int, int]] = {  # rows, heads, entries, tokens read by each row
        "fill": (1, 4, 8192, 8192),
        "steady": (1, 4, 4096, 4096),
        "documents": (4, 2, 4096, 8192),
        "mostly-empty": (20, 2, 4096, 1024),
        "long-document": (1, 1, 8192, int(32768 * max(1, SCALE))),
    }

    def setup(self, backend: str, runbook: str) -> None:
        require_installed(backend)
        rows, heads, _, tokens = self.shapes[runbook]
        require_affordable(backend, rows * heads * tokens)

    def track_step_ms(self, backend: str, runbook: str) -> float:
        return self._measured(backend, runbook)["step"]

    def track_worst_step_ms(self, backend: str, runbook: str) -> float:
        return self._measured(backend, runbook)["worst step"]

    def track_add_ms(self, backend: str, runbook: str) -> float:
        return self._measured(backend, runbook)["add"]

    def track_worst_add_ms(self, backend: str, runbook: str) -> float:
        return self._measured(backend, runbook)["worst add"]

    set_unit("milliseconds", track_step_ms, track_worst_step_ms, track_add_ms, track_worst_add_ms)

    def _measured(self, backend: str, runbook: str) -> dict[str, float]:
        return once(f"life-{backend}-{runbook}", lambda: self._measure(backend, runbook))

    def _measure(self, backend: str, runbook: str) -> dict[str, float]:
        rows, heads, entries, tokens = self.shapes[runbook]
        played: Mapping[str, Timing] = {}
        shape = MemoryShape(rows=rows, heads=heads, key_dim=64, value_dim=64, capacity=entries)
        for length in (min(tokens, 2 * entries), tokens):
            played = play(RUNBOOKS[runbook](shape, length), create(backend, shape), stream("drifting", shape)).timings
        usual = {name: timing.median_ms for name, timing in played.items()}
        return usual | {f"worst {name}": timing.worst_ms for name, timing in played.items()}
