"""Training steps of memstack and of the implementation people use, side by side on this machine.

    python -m benchmarks.goals.peer --out peer.json

The peer is memorizing-transformers-pytorch 0.4.1, in a virtual environment of its own. It is installed without what it
declares: it asks for faiss-gpu, where its index lives on the CPU, and does not ask for einops-exts, without which it
cannot be imported. ``NEEDS`` is what it runs with on Python 3.11 and our torch.

Both models have the same layers, widths, rows and segment, and memories as large, searched for as many neighbours: per
row and memory layer one head of keys and values, for the peer has no more. Both take AdamW's steps over random tokens,
in turns; the medians count. Both are at their defaults: exact search here, an HNSW graph there. The recall of
either is printed, on keys that drift as a text's do. In a second line the graph has the efSearch that brings its recall
to 0.95, if one does.

Our memory is full and forgets its oldest entries. The peer's would forget everything once it is full: it may hold some
more, and starts with as many less, so that it never does and holds as many as ours half way.
"""

import json
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
import typer
from rich.table import Table

from memstack import MemoryShape
from memstack.cli.console import OUT, table
from memstack.measure import KEY_SETS, describe_hardware
from memstack.plugins.config import Frozen
from memstack.plugins.disk_cache import cache_folder
from memstack.plugins.records import Record

from .peer_worker import KEYS, QUERIES, Memstack, Peer

ROOT, WORKER = Path(__file__).parents[2], Path(__file__).with_name("peer_worker.py")
PEER = f"{Peer.name}==0.4.1"
NEEDS = ("einops==0.8.2", "einops-exts==0.0.4", "faiss-cpu==1.15.1", "filelock", "joblib==1.6.0", "numpy")
GOALS = {8192: 3.0, 65536: 12.0}
"""How many of our steps should fit into one of the peer's at a recall of 0.95, by entries."""
WARM_UP, PAUSE_S = 1, 0.2
"""Steps that are not counted; and the pause between turns, in which the other's threads fall asleep."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What both sides are given: the shipped checkpoint's model, with one head of keys."""

    layers: int = 4
    dim: int = 128
    heads: int = 4
    head_dim: int = 32
    memory_layers: tuple[int, ...] = (1, 3)
    rows: int = 2
    segment: int = 256
    vocabulary: int = 1024
    neighbours: int = 32
    backend: str = "exact"
    """Of our memories, at its default options."""
    recall: float = 0.95
    """What the peer's is brought to."""
    processes: bool = False
    """The peer's knn_memory_multiprocessing, off by default: a process per core for its index."""


class SideTimes(Frozen):
    """The steps of one side."""

    entries: int
    """Of a memory, as the steps begin."""
    parameters: int
    version: str
    ms: float
    """The median."""
    samples: tuple[float, ...]
    recall: float


class Compared(Frozen):
    """Both sides at one size."""

    entries: int
    goal: float | None = None
    reached: bool | None = None
    """Whether the ratio reaches the goal, where there is one."""
    ratio: float
    """Our steps in one of the peer's."""
    sides: dict[str, SideTimes]
    peer: str
    """How the peer's search is set."""


class PeerGoals(Record):
    """What ``peer.py`` writes."""

    kind: Literal["peer-goals"] = "peer-goals"
    peer: str
    shape: Shape
    machine: dict[str, str]
    results: tuple[Compared, ...]


class Worker:
    """A process of ``peer_worker.py``, or of anything that speaks as it does."""

    script = WORKER

    def __init__(self, python: str | Path, side: str, request: dict[str, Any]) -> None:
        # -P: this folder's files must not be taken for modules of the peer's.
        line = [str(python), "-P", str(self.script), side, json.dumps(request)]
        self.side = side
        self._process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self._answer()

    def ask(self, what: str) -> Any:
        """Have it do one thing; return the one value of its answer."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # what it died of is told below
            self._process.stdin.write(f"{what}\n")
            self._process.stdin.flush()
        (value,) = self._answer().values()
        return value

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            code = self._process.returncode
            raise RuntimeError(f"the worker of {self.side} ended with code {code}; its own words are above")
        return json.loads(line)


def install(folder: Path) -> Path:
    """Return the Python of the peer's environment; make it first unless the folder holds just this one."""
    constraints = ["-c", str(ROOT / "constraints.txt")]
    return environment(folder, [*constraints, *NEEDS, our_torch()], ["--no-deps", PEER])


def our_torch() -> str:
    """The torch of both sides."""
    return f"torch=={torch.__version__.partition('+')[0]}"


def environment(folder: Path, *installs: Sequence[str]) -> Path:
    """Return the Python of an environment that each of these is installed in, one after the other, as pip takes it."""
    python, ready = folder / "bin" / "python", folder / "ready"
    wanted = "\n".join(" ".join(each) for each in installs)
    if ready.exists() and ready.read_text(encoding="utf-8") == wanted:
        return python
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").exists():
        raise typer.BadParameter(f"{folder} holds something that is no Python environment: name an empty folder")
    venv.create(folder, clear=True, with_pip=True)
    for each in installs:
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *each], check=True)
    ready.write_text(wanted, encoding="utf-8")
    return python


def compare(shape: Shape, entries: int, turns: int, ours: str | Path, theirs: str | Path) -> list[dict[str, Any]]:
    """Time steps of both sides, whose Pythons are given, with memories of so many entries: once with the peer as it
    comes, once with the recall it is brought to."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as open_workers:
        request = asdict(shape) | {"entries": entries, "steps": 2 * (WARM_UP + turns), "folder": folder}
        _write_keys(Path(folder), shape, entries)
        workers = [
            open_workers.enter_context(Worker(python, side, request))
            for side, python in ((Memstack.name, ours), (Peer.name, theirs))
        ]
        default: dict[str, Any] = _in_turns(workers, turns) | {"peer": "as it comes"}
        ef_search = workers[1].ask("tune")
        tuned: dict[str, Any] = _in_turns(workers, turns) | {"peer": f"efSearch {ef_search}"}
    return [{"entries": entries, **judged(entries, each["ratio"]), **each} for each in (default, tuned)]


def judged(entries: int, ratio: float) -> dict[str, Any]:
    """The goal and whether the ratio reaches it; a size that has none neither reaches nor misses it."""
    goal = GOALS.get(entries)
    return {"goal": goal, "reached": None if goal is None else ratio >= goal}


def shown(results: Sequence[dict[str, Any]]) -> Table:
    """The results as a table, each ratio beside its goal."""
    made = table("the peer", right=("entries", "memstack", "recall", "peer", "recall", "ratio", "goal"))
    for one in results:
        sides = [[f"{side['ms']:.1f} ms", f"{side['recall']:.3f}"] for side in one["sides"].values()]
        goal = f"{one['goal']:g}, {'reached' if one['reached'] else 'missed'}" if one["goal"] else ""
        made.add_row(one["peer"], f"{one['entries']:,}", *sides[0], *sides[1], f"{one['ratio']:.2f}", goal)
    return made


def main(
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="Write the results here, as JSON.")] = None,
    environment: Annotated[Path | None, typer.Option(help="The peer's virtual environment.")] = None,
    entries: Annotated[list[int] | None, typer.Option(help="Entries per memory.")] = None,
    turns: Annotated[int, typer.Option(help="Steps of each side that count.")] = 5,
    backend: Annotated[str, typer.Option(help="Of our memories.")] = "exact",
    processes: Annotated[bool, typer.Option(help="Give the peer's index a process per core.")] = False,
) -> None:
    """Print how many times longer the peer's training step takes, beside the goal."""
    shape = Shape(backend=backend, processes=processes)
    python = install(environment or cache_folder() / "peer")
    sizes = [compare(shape, each, turns, sys.executable, python) for each in entries or GOALS]
    results = [result for size in sizes for result in size]
    OUT.print(shown(results))
    if out:
        compared = tuple(map(Compared.model_validate, results))
        PeerGoals(peer=PEER, shape=shape, machine=describe_hardware(), results=compared).write(out)


def _write_keys(folder: Path, shape: Shape, entries: int) -> None:
    """Write what both fill their memories with, and queries whose neighbours are among it."""
    one_head = MemoryShape(rows=shape.rows, heads=1, key_dim=shape.head_dim, value_dim=shape.head_dim, capacity=entries)
    streams = [KEY_SETS["drifting"](one_head, seed) for seed in range(len(shape.memory_layers))]
    np.save(folder / KEYS, np.stack([stream.keys(entries)[:, 0].numpy() for stream in streams]))
    np.save(folder / QUERIES, np.stack([stream.queries(shape.segment)[:, 0].numpy() for stream in streams]))


def _in_turns(workers: Sequence[Worker], turns: int) -> dict[str, Any]:
    """Steps of both sides one after the other: their medians, the ratio, and what recall they were made with."""
    samples = [[_rested(worker) for worker in workers] for _ in range(WARM_UP + turns)][WARM_UP:]
    sides: dict[str, Any] = {
        worker.side: worker.ready | {"ms": median(taken), "samples": list(taken), "recall": worker.ask("recall")}
        for worker, taken in zip(workers, zip(*samples, strict=True), strict=True)
    }
    ours, theirs = sides.values()
    return {"ratio": theirs["ms"] / ours["ms"], "sides": sides}


def _rested(worker: Worker) -> float:
    time.sleep(PAUSE_S)
    return worker.ask("step")


if __name__ == "__main__":
    typer.run(main)
