"""How search, add and training step grow with the entries of a memory, and with the number of memories.

    python -m benchmarks.goals.growth --out runs/growth     # measure every installed backend, ten minutes on two cores
    python -m benchmarks.goals.growth --out runs/growth --redraw

Writes growth.json, growth-entries.png and growth-memories.png, and prints the slopes of the upper ends on logarithmic
axes: 1 is linear, and anything above 1.1 is marked as a defect. Each backend is at its default options; its memory is
that of a model's single memory layer, full of drifting keys. A backend that takes too long at a size is given up from
there on, and said to be.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from memstack_models.report.attempts import Attempts
from memstack_models.report.records import LeftOut
from memstack_models.training import run_folder
from memstack_models.training.trainer import Trainer

from benchmarks.suite.common import DEVICE
from memstack.cli.console import ERR, OUT, say
from memstack.contract.metrics import recall_by_score
from memstack.measure import KEY_SETS, describe_hardware, true_neighbours
from memstack.measure.measurement import TooSlowError, add_entries
from memstack.measure.sweep import installed
from memstack.measure.timing import time_call
from memstack.plugins.registry import registry

from .growth_results import NO_MEMORY, Cell, Growth, axis_names, draw, slopes, slopes_table

RESULTS = "growth.json"
RECIPE, VOCABULARY, NEIGHBOURS, KEY_DIM = "stdlib-small", 1024, 32, 64
MOST_HEADS = 8
"""Further memories are further rows."""
ASKED = 64  # queries per memory that recall is measured on
REPEATS, SEGMENTS = 3, 8
"""Searches, and steps, that are timed; and segments of the text, which must not end before."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What is varied, and what is not."""

    sizes: tuple[int, ...]
    segment: int
    """Queries per memory and search, keys per add, tokens per row and step."""
    entries: int | None = None
    """Of each memory; None where they are what is varied, in one memory."""

    def settings(self, size: int) -> dict[str, int]:
        """Memories, their entries, and the segment, at this size."""
        memories, entries = (1, size) if self.entries is None else (size, self.entries)
        return {"memories": memories, "entries": entries, "segment": self.segment}


# So many entries on the second axis that every backend has its index: the bundled ones search fewer than 1,024 exactly.
AXES = {
    "entries": Axis(sizes=(512, 1024, 4096, 16384, 65536, 262144, 1048576), segment=256),
    "memories": Axis(sizes=(1, 4, 16, 64, 256, 1024), segment=64, entries=2048),
}


def timed_memory(backend: str, *, memories: int, entries: int, segment: int, limit_s: float = inf) -> dict[str, float]:
    """Median milliseconds of a search and a step, mean ones of an add, with all memories full; and the recall.

    An add's mean is over those that filled them and then replaced an eighth: what trains or rebuilds counts.
    TooSlowError once those have taken ``limit_s``.
    """
    trainer = _trainer(backend, memories, entries, segment)
    (memory,) = trainer.streams[0].bank.values()
    memory.reset()
    stream = KEY_SETS["drifting"](memory.shape, 0, DEVICE)
    adds = add_entries(memory, stream, entries + max(segment, entries // 8), segment, limit_s)
    queries, device = stream.queries(segment), memory.device
    found = memory.search(asked := queries[:, :, :ASKED], NEIGHBOURS)
    recall = recall_by_score(found, true_neighbours(memory, asked, NEIGHBOURS, device))
    searches = time_call(lambda: memory.search(queries, NEIGHBOURS), repeats=REPEATS, device=device)
    return {"search": searches.median_ms, "add": adds.mean_ms, "step": _step(trainer), "recall": recall}


def timed_without(*, memories: int, entries: int, segment: int) -> dict[str, float]:
    """Median milliseconds of the same model's step without a memory."""
    return {"step": _step(_trainer(NO_MEMORY, memories, entries, segment))}


def gather(axes: Mapping[str, Axis], backends: Sequence[str], limit_s: float, attempts: Attempts) -> list[Cell]:
    """Measure the model without a memory, and every backend, along every axis."""
    return [
        cell
        for name, axis in axes.items()
        for backend in (NO_MEMORY, *backends)
        for cell in _along(name, axis, backend, limit_s, attempts)
    ]


def main(
    out: Annotated[Path, typer.Option(help="Folder of the results and pictures.")],
    redraw: Annotated[bool, typer.Option("--redraw", help="Measure nothing: draw what the folder holds.")] = False,
    limit: Annotated[float, typer.Option(help="Seconds that a backend may take at one size.")] = 30.0,
    entries: Annotated[int, typer.Option(help="The most entries of a memory.")] = 1 << 20,
    memories: Annotated[int, typer.Option(help="The most memories.")] = 1024,
    backend: Annotated[list[str] | None, typer.Option(help="Only these backends.")] = None,
) -> None:
    """Measure how times grow, print the slopes, draw them."""
    if not redraw:
        out.mkdir(parents=True, exist_ok=True)
        axes = {name: _up_to(axis, {"entries": entries, "memories": memories}[name]) for name, axis in AXES.items()}
        measured = _measured(axes, backend, limit)
        measured.write(out / RESULTS)
    results = Growth.read(out / RESULTS)
    for name in axis_names(results):
        OUT.print(slopes_table(results, name))
        (out / f"growth-{name}.png").write_bytes(draw(results, name))
    for one in results.left_out:
        where = f"{one.part}, {one.setting}, {one.entries:,} entries and larger"
        say(f"left out: {where}: {one.reason}")
    raise typer.Exit(bool(results.failed))


def _measured(axes: Mapping[str, Axis], chosen: Sequence[str] | None, limit_s: float) -> Growth:
    """Everything that is drawn, and why the rest is not there."""
    start, attempts = time.perf_counter(), Attempts(lambda doing: say(doing, "dim", ERR))
    specs = [registry().spec(name) for name in chosen] if chosen else registry().specs()
    present = [spec.name for spec in installed() if spec in specs]
    cells = gather(axes, present, limit_s, attempts)
    absent = [
        LeftOut(part="both axes", setting=spec.name, entries=1, reason=f"not installed: {spec.pip_line}")
        for spec in specs
        if spec.missing()
    ]
    return Growth(
        machine=describe_hardware(),
        minutes=(time.perf_counter() - start) / 60,
        limit_s=limit_s,
        cells=tuple(cells),
        slopes=slopes(cells),
        left_out=(*absent, *attempts.given_up, *attempts.failures),
        failed=len(attempts.failures),
    )


def _along(name: str, axis: Axis, backend: str, limit_s: float, attempts: Attempts) -> Iterator[Cell]:
    """Measure one backend at rising sizes, until one fails or takes too long."""
    took: dict[int, float] = {}
    for size in axis.sizes:
        start, expected, settings = time.perf_counter(), _expected(took, size), axis.settings(size)
        times = attempts.attempt(
            f"by {name}",
            f"{backend}, {settings['memories']:,} x",
            settings["entries"],
            lambda settings=settings, expected=expected: _at(backend, settings, expected, limit_s),
        )
        if times is None:
            return
        took[size] = time.perf_counter() - start
        yield Cell(axis=name, backend=backend, size=size, took_s=took[size], **times)


def _at(backend: str, settings: Mapping[str, int], expected_s: float, limit_s: float) -> dict[str, float]:
    if backend == NO_MEMORY:
        return timed_without(**settings)
    if expected_s > limit_s:
        raise TooSlowError(f"by the sizes before it would take some {expected_s:.0f} s, and {limit_s:g} s are allowed")
    return timed_memory(backend, **settings, limit_s=limit_s)


def _expected(took: Mapping[int, float], size: int) -> float:
    """Seconds to expect: those of the last size, grown as they did from the one before, but no more than linearly."""
    if len(took) < 2:
        return 0.0
    (_, before), (last, seconds) = list(took.items())[-2:]
    return seconds * min(seconds / before, size / last)


def _up_to(axis: Axis, most: int) -> Axis:
    return replace(axis, sizes=tuple(size for size in axis.sizes if size <= most))


def _trainer(backend: str, memories: int, entries: int, segment: int) -> Trainer:
    """A trainer that has made two steps: every row started in the first, and all verbs ran with something stored."""
    heads = min(MOST_HEADS, memories)
    rows = memories // heads
    settings: dict[str, Any] = {
        "model.heads": heads,
        "model.head_dim": KEY_DIM,
        "model.memory_layers": [] if backend == NO_MEMORY else [3],
        "memory.capacity": entries,
        "memory.neighbours": NEIGHBOURS,
        "memory.probe.every": 0,
        "train.rows": rows,
        "train.segment": segment,
        "train.device": DEVICE,
    }
    if backend != NO_MEMORY:
        settings["memory.backend"] = backend
    run = run_folder.recipe(RECIPE, [f"{name}={value}" for name, value in settings.items()])
    random = torch.Generator().manual_seed(0)
    texts = list(torch.randint(VOCABULARY, (rows, SEGMENTS * segment + 1), generator=random))
    trainer = Trainer(run, Path(), VOCABULARY, texts, [], torch.ones(VOCABULARY, dtype=torch.int64))
    for _ in range(2):
        trainer.advance()
    return trainer


def _step(trainer: Trainer) -> float:
    return time_call(trainer.advance, repeats=REPEATS, device=trainer.device).median_ms


if __name__ == "__main__":
    typer.run(main)
