"""What scripts that search on a CPU share: calls made in turns, full memories, and figures beside their goals."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping

import torch
from memstack_exact.search import ExactMemory

from memstack import MemoryShape
from memstack.cli import console
from memstack.measure import KeyStream
from memstack.plugins.config import Frozen

K = 32
CHUNK = 4096
REPEATS = 9

Calls = Mapping[str, Callable[[], object]]


class Row(Frozen):
    """One figure beside its goal."""

    what: str
    goal: str
    reached: float
    met: bool


def times(
    calls: Calls, repeats: int = REPEATS, clock: Callable[[], float] = time.thread_time
) -> dict[str, list[float]]:
    """Seconds of each call, made in turns so that what disturbs one disturbs all."""
    for call in calls.values():
        call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = clock()
            call()
            taken[name].append(clock() - start)
    return taken


def medians(calls: Calls, repeats: int = REPEATS, clock: Callable[[], float] = time.thread_time) -> dict[str, float]:
    """The median of each call's seconds."""
    return {name: statistics.median(each) for name, each in times(calls, repeats, clock).items()}


def filled(shape: MemoryShape, keys: KeyStream, **options: object) -> ExactMemory:
    """A full memory; its values are of no interest."""
    memory = ExactMemory(shape, ExactMemory.Options.model_validate(options))
    for start in range(0, shape.capacity, 1 << 16):
        some = keys.keys(min(1 << 16, shape.capacity - start))
        memory.add(some, some[..., :1].expand(*some.shape[:-1], shape.value_dim))
    return memory


def product(queries: torch.Tensor, keys: torch.Tensor) -> None:
    """The scores, block by block, thrown away."""
    for start in range(0, keys.shape[1], CHUNK):
        torch.bmm(queries, keys[:, start : start + CHUNK].mT)


def row(what: str, reached: float, goal: float, *, least: bool = False) -> Row:
    met = reached >= goal if least else reached <= goal
    return Row(what=what, goal=f"{'≥' if least else '≤'} {goal:g}", reached=round(reached, 2), met=met)


def reported(what: str, reached: float) -> Row:
    """A figure without a goal."""
    return Row(what=what, goal="reported", reached=round(reached, 2), met=True)


def show(rows: Iterable[Row]) -> None:
    """Print each figure beside its goal."""
    lines = console.table("what", right=["goal", "reached", ""])
    for each in rows:
        lines.add_row(each.what, each.goal, str(each.reached), "" if each.met else "short")
    console.OUT.print(lines)
