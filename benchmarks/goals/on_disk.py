"""What a store takes of memory, in memory and in a folder: ``python -m benchmarks.goals.on_disk FOLDER [dtype]``.

Each cell is a process of its own, that fills a store and searches it; Linux only. "memory" is the most that it ever
held beside what it had before, mapped files apart: those pages the system takes back whenever it needs them.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from typer import echo

from memstack import MemoryShape, create_memory

CAPACITIES = (1 << 16, 1 << 18, 1 << 20)
GOAL = 100  # MB, at any capacity
HEADS, DIM, CHUNK, QUERIES, K = 4, 64, 4096, 16, 32


def main(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    dtype: Annotated[str, typer.Argument()] = "float32",
) -> None:
    """Print how much memory a store takes, with its numbers in memory and in files of FOLDER."""
    echo(f"{dtype}: {HEADS} memories, keys and values of {DIM}, MB")
    for where in ("", str(folder)):
        for capacity in CAPACITIES:
            line = [sys.executable, __file__, "cell", str(capacity), dtype, *([where] if where else [])]
            subprocess.run(line, check=True)
    echo(f"goal: at most {GOAL} MB of memory for a store in a folder, at any number of entries")


def cell(capacity: str, dtype: str, folder: str | None = None) -> None:
    """Fill and search one store, and print a line."""
    torch.set_num_threads(1)
    shape = MemoryShape(rows=1, heads=HEADS, key_dim=DIM, value_dim=DIM, capacity=int(capacity))
    random = torch.Generator().manual_seed(0)
    before, peak = held(), Peak()
    memory = create_memory("exact", shape, dtype=dtype, folder=folder)
    for _ in range(shape.capacity // CHUNK):
        keys, values = torch.randn(2, 1, HEADS, CHUNK, DIM, generator=random)
        memory.add(keys, values)
    queries = torch.randn(1, HEADS, QUERIES, DIM, generator=random)
    start = time.perf_counter()
    memory.search(queries, K)
    seconds = time.perf_counter() - start
    where = "folder" if folder else "memory"
    echo(f"{where}  {shape.capacity:9,} entries  memory {peak.stop() - before:6.0f}  search {seconds:6.2f} s")


def held(what: str = "RssAnon") -> float:
    """MB of this process's memory that is no file's."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(what)) / 1024


class Peak(threading.Thread):
    """Looks every few milliseconds at what is held."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._most, self._done = held(), threading.Event()
        self.start()

    def run(self) -> None:
        while not self._done.wait(0.005):
            self._most = max(self._most, held())

    def stop(self) -> float:
        """Stop looking, and return the most that was seen."""
        self._done.set()
        self.join()
        return self._most


if __name__ == "__main__":
    cell(*sys.argv[2:]) if sys.argv[1:2] == ["cell"] else typer.run(main)
