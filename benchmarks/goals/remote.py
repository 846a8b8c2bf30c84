"""What a remote store costs its client: CPU time a query and an entry, beside the goals.

    python -m benchmarks.goals.remote http://localhost:6334           # of a Qdrant server or cluster
    python -m benchmarks.goals.remote /some/folder                    # its engine as a library, in this process

Sixteen memories of 4,096 entries, 64 numbers in a key and in a value, 32 neighbours, 64 queries a memory. What a client
spends is the processor time of its process, all threads together, least of several rounds: for a cluster, that of
building requests, sending them and taking answers apart; for a folder, the engine's search besides.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from memstack import MemoryShape, create_memory
from memstack.cli.console import say
from memstack.measure import KEY_SETS
from memstack.plugins.registry import registry
from memstack.store.remote import Asked, Points

SHAPE = MemoryShape(rows=16, heads=1, key_dim=64, value_dim=64, capacity=4096)
QUERIES, NEIGHBOURS, CHUNK = 64, 32, 256
GOALS = {"ids": 0.05, "keys and values": 0.3}
"""Milliseconds of a client's processor time for one query."""


def main(
    where: Annotated[str, typer.Argument(help="The url of a server, or a folder for the engine as a library.")],
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the least counts.")] = 5,
    entries: Annotated[int, typer.Option(min=32, help="Entries of each memory.")] = 4096,
) -> None:
    """Measure what a remote store costs its client."""
    place = {"url": where} if "://" in where else {"path": Path(where)}
    stream = KEY_SETS["drifting"](SHAPE, 0, torch.device("cpu"))
    store = opened(place)
    try:
        add = fill(store, stream, entries)
        live = [(range(memory << 36, (memory << 36) + entries),) for memory in range(SHAPE.rows)]
        queries = stream.queries(QUERIES).flatten(0, 1).numpy()
        asked = [Asked(ranges, each) for ranges, each in zip(live, queries, strict=True)]
        say(f"{where}: {SHAPE.rows} memories of {entries:,} entries, {QUERIES} queries each, {NEIGHBOURS} neighbours")
        for what, goal in GOALS.items():
            fetch = what != "ids"
            cost = least(lambda fetch=fetch: store.search(asked, NEIGHBOURS, 60.0, fetch=fetch), rounds)
            say(f"{what}: {cost / (SHAPE.rows * QUERIES):.3f} ms of the client's processor a query (goal {goal})")
        say(f"an entry that is added: {add:.3f} ms")
    finally:
        store.close()
    say(f"a step beside exact search in this process: {step_times(place, stream, entries):.1f} times the time")


def opened(place: dict[str, Any]) -> Any:
    """A new store."""
    backend: Any = registry().backend_class("qdrant")
    store = backend.connect(SHAPE, registry().options("qdrant", place))
    store.open(60.0)
    return store


def fill(store: Any, stream: Any, entries: int) -> float:
    """Add entries to every memory; return the milliseconds of the client's processor that one takes."""
    spent = 0.0
    for first in range(0, entries, CHUNK):
        keys = stream.keys(min(CHUNK, entries - first)).flatten(0, 1).numpy()
        n = keys.shape[1]
        ids = (np.arange(SHAPE.rows)[:, None] << 36) + np.arange(first, first + n)
        points = Points(ids.reshape(-1), keys.reshape(-1, SHAPE.key_dim), keys.reshape(-1, SHAPE.value_dim))
        spent += spent_ms(lambda points=points: store.send(points, 60.0).result())
    return spent / (SHAPE.rows * entries)


def step_times(place: dict[str, Any], stream: Any, entries: int) -> float:
    """A search and an add of a whole memory, by the clock, in units of exact search's."""
    times: list[float] = []
    for name, options in (("exact", {}), ("qdrant", place)):
        memory = create_memory(name, SHAPE, **options)
        for first in range(0, entries, CHUNK):
            keys = stream.keys(min(CHUNK, entries - first))
            memory.add(keys, keys)
        keys, queries = stream.keys(QUERIES), stream.queries(QUERIES)
        memory.search(queries, NEIGHBOURS)
        begun = time.perf_counter()
        for _ in range(3):
            memory.search(queries, NEIGHBOURS)
            memory.add(keys, keys)
        memory.search(queries, 1)  # by then the last add has arrived
        times.append(time.perf_counter() - begun)
    return times[1] / times[0]


def least(call: Callable[[], object], rounds: int) -> float:
    """The least of several rounds, in milliseconds of this process's processor time."""
    call()
    return min(spent_ms(call) for _ in range(rounds))


def spent_ms(call: Callable[[], object]) -> float:
    """What a call takes of this process's processor time, in milliseconds."""
    begun = time.process_time()
    call()
    return 1e3 * (time.process_time() - begun)


if __name__ == "__main__":
    typer.run(main)
