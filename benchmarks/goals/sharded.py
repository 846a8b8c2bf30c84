"""One memory over several ranks beside one process that holds all of it: ``python -m benchmarks.goals.sharded``.

A step is what a memory layer does forward and backward, on drifting unit keys, beyond the capacity: on each rank for
its own queries, in the one process for those of all ranks. Times are of the CPU, of all threads of a process, each the
least of several: what else the machine does counts little. The ranks talk through the loopback device. Five minutes.
"""

import json
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import torch.distributed as dist
import typer
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from memstack import Memory, MemoryShape, create_memory, search
from memstack.cli import console
from memstack.measure import KEY_SETS
from memstack.wrappers.sharded import ShardedMemory

ROWS, HEADS, DIM, QUERIES, K, BLOCK = 2, 4, 64, 256, 32, 4096
GAINS = {(262144, 2): 1.6, (262144, 4): 2.4}
SHARE, BYTES = 0.10, 1700
"""Of a rank's time, exchanges at most, at these sizes; bytes received for a query and (row, head), from each other
rank, at any."""


class Cell(NamedTuple):
    """CPU seconds of a step, and what of it was exchanged."""

    rank: float
    exchanges: float
    local: float
    """What the part of one rank takes for the queries of all."""
    one: float
    bytes: float


class Watched:
    """A group whose exchanges are timed and counted."""

    def __init__(self, memory: ShardedMemory) -> None:
        self.size, self.seconds, self.bytes = memory.group.size, 0.0, 0
        for name in ("gather", "trade"):
            vars(memory.group)[name] = self._watched(getattr(memory.group, name))

    def _watched(self, exchange: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def watched(given: Tensor) -> Tensor:
            start = time.process_time()
            came = exchange(given)
            self.seconds += time.process_time() - start
            self.bytes += came.nbytes * (self.size - 1) // self.size
            return came

        return watched


def step(memory: Memory, queries: Tensor) -> None:
    """Forward and backward of what a memory layer does."""
    asked = queries.clone().requires_grad_()
    found = search(memory, asked, K)
    found.mix((8 * found.dot(asked)).softmax(-1)).square().sum().backward()


def least(repeats: int, work: Callable[[], None]) -> float:
    """The least CPU seconds that it took."""
    return min(_took(work) for _ in range(repeats))


def _took(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def worker(rank: int, ranks: int, capacity: int, repeats: int, folder: str) -> None:
    """One rank of a cell; the first one writes down what was measured."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=ranks)
    shape = MemoryShape(rows=ROWS, heads=HEADS, key_dim=DIM, value_dim=DIM, capacity=capacity)
    memory = ShardedMemory(shape, lambda part: create_memory("exact", part), ranks, limit=600)
    alone = create_memory("exact", shape) if rank == 0 else None
    keys = KEY_SETS["drifting"](shape)
    for _ in range(-(-capacity // BLOCK) + 1):
        new = keys.keys(BLOCK)
        memory.add(new[:, :, rank::ranks], new[:, :, rank::ranks])
        if alone is not None:
            alone.add(new, new)
    queries = keys.queries(ranks * QUERIES)
    watched, own = Watched(memory), queries[:, :, rank::ranks]
    steps: list[tuple[float, float, int]] = []
    for _ in range(repeats):
        dist.barrier()
        watched.seconds, watched.bytes = 0.0, 0
        steps.append((_took(lambda: step(memory, own)), watched.seconds, watched.bytes))
    seconds, exchanges, received = (min(each) for each in zip(*steps, strict=True))
    with in_turn(rank, ranks):
        local = least(repeats, lambda: step(memory.shard.local, queries))
        one = least(repeats, lambda: step(alone, queries)) if alone is not None else 0.0
    if rank == 0:
        cell = Cell(seconds, exchanges, local, one, received / (ROWS * HEADS * QUERIES))
        Path(folder, "cell").write_text(json.dumps(cell))


@contextmanager
def in_turn(rank: int, ranks: int) -> Generator[None]:
    """One rank after the other."""
    for turn in range(ranks):
        if turn == rank:
            yield
        dist.barrier()


def measure(capacity: int, ranks: int, repeats: int) -> Cell:
    """Start the ranks of a cell; what the first one measured."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(worker, (ranks, capacity, repeats, folder), nprocs=ranks)
        return Cell(*json.loads(Path(folder, "cell").read_text()))


def main(
    entries: Annotated[list[int], typer.Option(help="Capacity of a memory; may be repeated.")] = [16384, 65536, 262144],  # noqa: B006
    ranks: Annotated[list[int], typer.Option(help="Ranks that share it; may be repeated.")] = [2, 4],  # noqa: B006
    repeats: Annotated[int, typer.Option(min=1, help="Steps, of which the fastest counts.")] = 7,
) -> None:
    """Print, for each size and number of ranks, time and traffic beside the goals."""
    heads = ("rank ms", "exchanges", "part alone ms", "one process ms", "gain", "goal", "bytes a query", "at most")
    lines = console.table("entries, ranks", right=list(heads))
    for capacity in entries:
        for size in ranks:
            cell = measure(capacity, size, repeats)
            goal = GAINS.get((capacity, size))
            gain, share = cell.one / cell.rank, cell.exchanges / cell.rank
            lines.add_row(
                f"{capacity:,}, {size}",
                f"{1e3 * cell.rank:.0f}",
                f"{share:.1%}{'' if goal is None or share <= SHARE else ' (short)'}",
                f"{1e3 * cell.local:.0f}",
                f"{1e3 * cell.one:.0f}",
                f"{gain:.2f}{'' if goal is None or gain >= goal else ' (short)'}",
                "" if goal is None else f"{goal:g}",
                f"{cell.bytes:,.0f}",
                f"{BYTES * (size - 1):,}",
            )
    console.OUT.print(lines)


if __name__ == "__main__":
    typer.run(main)
