"""What one entry and one query cost, in processor time: ``python -m benchmarks.goals.unit_costs``, some two minutes.

Of one memory of 100,000 entries, width 64, 32 neighbours, keys without structure: exact search in this process, and the
engine of a Qdrant cluster as a library in a folder. ``memstack estimate --entries`` multiplies these, so that they
stand, with where they come from, in ``training/sizing/unit_costs.toml`` of ``memstack_models``. Times are of the
processor, client and engine together, all threads: what else the machine does counts little.
"""

import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.goals.remote import least, spent_ms
from memstack import MemoryShape, create_memory
from memstack.cli.console import say
from memstack.measure import KEY_SETS, KeyStream
from memstack.plugins.registry import registry
from memstack.store.remote import Asked, Points

NEIGHBOURS, CHUNK, PATIENCE = 32, 1000, 600.0


def main(
    entries: Annotated[int, typer.Option(min=CHUNK, help="Entries of the memory; thousands.")] = 100_000,
    queries: Annotated[int, typer.Option(min=1, help="Queries of a search.")] = 1024,
    dim: Annotated[int, typer.Option(min=1, help="Width of keys, and of values.")] = 64,
    keys: Annotated[str, typer.Option(help=f"One of {', '.join(KEY_SETS)}.")] = "isotropic",
) -> None:
    """Print what an entry and a query cost."""
    shape = MemoryShape(rows=1, heads=1, key_dim=dim, value_dim=dim, capacity=entries + CHUNK)
    for name, value, unit in chain(
        exact_costs(shape, keys, entries, queries), engine_costs(shape, keys, entries, queries)
    ):
        say(f"{name}: {value:.4g} {unit}")


def exact_costs(shape: MemoryShape, key_set: str, entries: int, queries: int) -> Iterator[tuple[str, float, str]]:
    """Of exact search in this process."""
    stream = KEY_SETS[key_set](shape, 0)
    memory = create_memory("exact", shape)
    added = 0.0
    for _ in range(entries // CHUNK):
        keys = stream.keys(CHUNK)
        added += spent_ms(lambda keys=keys: memory.add(keys, keys))
    asked = stream.queries(queries)
    yield "exact: an entry that is added", 1e3 * added / entries, "us"
    yield "exact: a query", least(lambda: memory.search(asked, NEIGHBOURS), 3) / queries, "ms"


def engine_costs(shape: MemoryShape, key_set: str, entries: int, queries: int) -> Iterator[tuple[str, float, str]]:
    """Of the engine, with a graph over all entries, which the last ones that are sent have it built."""
    stream = KEY_SETS[key_set](shape, 0)
    with tempfile.TemporaryDirectory() as folder:
        given = {"path": folder, "graph_from": entries}
        backend: Any = registry().backend_class("qdrant-graph")
        store = backend.connect(shape, registry().options("qdrant-graph", given))
        store.open(PATIENCE)
        try:
            sent = sum(spent_ms(lambda first=first: send(store, stream, first)) for first in range(0, entries, CHUNK))
            yield "engine: an entry that is sent", 1e3 * sent / entries, "us"
            yield "engine: its graph", spent_ms(lambda: send(store, stream, entries)) / entries, "ms an entry"
            asked = [Asked((range(entries + CHUNK),), stream.queries(queries)[0, 0].numpy())]
            for what, fetch in (("ids", False), ("keys and values as well", True)):
                cost = least(lambda fetch=fetch: ask(store, asked, exactly=False, fetch=fetch), 3)
                yield f"engine: a query, {what}", cost / queries, "ms"
            found, true = (ask(store, asked, exactly=exactly, fetch=False).ids for exactly in (False, True))
            yield "engine: recall", float(np.mean([np.isin(t, f).mean() for f, t in zip(found, true, strict=True)])), ""
            taken = sum(path.stat().st_blocks * 512 for path in Path(folder).rglob("*"))
            yield "engine: files", taken / (entries + CHUNK), "bytes an entry"
        finally:
            store.close()


def send(store: Any, stream: KeyStream, first: int) -> None:
    """Send so many more entries, each a key that is its value too."""
    keys = stream.keys(CHUNK)[0, 0].numpy()
    store.send(Points(np.arange(first, first + CHUNK), keys, keys), PATIENCE).result()


def ask(store: Any, asked: list[Asked], *, exactly: bool, fetch: bool) -> Any:
    """Ask all queries at once."""
    return store.search(asked, NEIGHBOURS, PATIENCE, exactly=exactly, fetch=fetch)


if __name__ == "__main__":
    typer.run(main)
