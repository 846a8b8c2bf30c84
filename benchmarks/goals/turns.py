"""What scripts that search on a CPU share: calls made in turns, full memories, and figures beside their goals."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

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
    """A median, where there is a spread."""
    spread: tuple[float, float] | None = None
    """The least and the most of all turns."""
    met: bool


class Ratio(NamedTuple):
    """What one call takes over what another one takes, turn by turn."""

    median: float
    least: float
    most: float


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


def ratio(taken: Mapping[str, Sequence[float]], of: str, over: str) -> Ratio:
    """One call's seconds over another's, of the same turn, which what disturbs the machine disturbs alike."""
    return ratio_of(zip(taken[of], taken[over], strict=True))


def ratio_of(turns: Iterable[tuple[float, float]]) -> Ratio:
    """The first of each turn's two over the second."""
    each = [one / other for one, other in turns]
    return Ratio(statistics.median(each), min(each), max(each))


def filled(shape: MemoryShape, keys: KeyStream, **options: object) -> ExactMemory:
    """A full memory; its values are of no interest."""
    memory = ExactMemory(shape, ExactMemory.Options.model_validate(options))
    for start in range(0, shape.capacity, 1 << 16):
        some = keys.keys(min(1 << 16, shape.capacity - start))
        memory.add(some, some[..., :1].expand(*some.shape[:-1], shape.value_dim))
    return memory


def product(queries: torch.Tensor, keys: torch.Tensor) -> None:
    """The scores, block by block, each over the one before: room that is had anew costs as much as the product."""
    width = min(CHUNK, keys.shape[1])
    out = _room(queries.shape[0] * queries.shape[1] * width).view(*queries.shape[:2], width)
    for start in range(0, keys.shape[1], width):
        torch.bmm(queries, keys[:, start : start + width].mT, out=out)


@cache
def _room(numbers: int) -> torch.Tensor:
    return torch.empty(numbers, dtype=torch.float32, device="cpu")


def row(what: str, reached: float | Ratio, goal: float, *, least: bool = False) -> Row:
    """A figure beside its goal, which is at most, or at ``least``, so much."""
    one = reported(what, reached)
    met = one.reached >= goal if least else one.reached <= goal
    return one.model_copy(update={"goal": f"{'≥' if least else '≤'} {goal:g}", "met": met})


def reported(what: str, reached: float | Ratio) -> Row:
    """A figure without a goal."""
    if isinstance(reached, Ratio):
        median, *spread = (round(each, 2) for each in reached)
        return Row(what=what, goal="reported", reached=median, spread=(spread[0], spread[1]), met=True)
    return Row(what=what, goal="reported", reached=round(reached, 2), met=True)


def show(rows: Iterable[Row]) -> None:
    """Print each figure beside its goal."""
    lines = console.table("what", right=["goal", "reached", "from - to", ""])
    for each in rows:
        spread = f"{each.spread[0]:g} - {each.spread[1]:g}" if each.spread else ""
        lines.add_row(each.what, each.goal, f"{each.reached:g}", spread, "" if each.met else "short")
    console.OUT.print(lines)
