"""What exact search costs on this CPU beside the least it could: ``python -m benchmarks.goals.exact --out exact.json``.

The floor is the float32 matrix product of queries and keys, in blocks of 4,096 keys that stay in the cache, with
nothing done to the scores. Every figure is the median of a ratio, the calls made in turns in one process, on one thread
and in its own time unless it says otherwise, with the least and the most of all turns. What else the machine did
meanwhile is said at the end: it counts. Two minutes; ``--variants``, the loop in each of the forms that this processor
runs, is half a minute of them.
"""

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from memstack_exact.cpu import library
from memstack_exact.search import ExactMemory

from benchmarks.goals.busy import Watch
from benchmarks.goals.turns import REPEATS, K, Row, filled, product, ratio, reported, row, show, times
from memstack import BackendUnavailableError, MemoryShape
from memstack.cli import console
from memstack.measure import KEY_SETS, KeyStream
from memstack.plugins.records import Record

GOALS = {8192: 1.0, 65536: 0.45, 262144: 0.33}
"""Of the 8-bit pass, for 512 queries of one memory, by entries."""
BY_256_BITS = {8192: 0.8, 65536: 0.6, 262144: 0.6}
OF_VARIANTS = {"avx512vnni": GOALS, "avxvnni": BY_256_BITS, "avx2": BY_256_BITS}
"""Of the 8-bit pass in one of its variants; others are reported."""
REPEATING = dict.fromkeys(GOALS, 1.0)
"""The same, where keys repeat exactly."""
FEW = 1.5  # what 64 queries may cost, relative to 512
TORCH = 2.7


class ExactGoals(Record):
    """What ``exact.py`` writes."""

    kind: Literal["exact-goals"] = "exact-goals"
    rows: tuple[Row, ...]
    others: float | None = None
    """The share of the processors' time that other processes used meanwhile."""


Rows = list[Row]


def codes_of(memory: ExactMemory) -> torch.Tensor | None:
    """The keys in 8 bits that the first pass on a CPU keeps, where it runs."""
    return getattr(memory.first_pass, "codes", None)


def one_memory(rows: Rows, dim: int, entries: int, name: str) -> None:
    """512, 64 and one query of a single memory."""
    shape = MemoryShape(rows=1, heads=1, key_dim=dim, value_dim=1, capacity=entries)
    keys = KEY_SETS[name](shape)
    memory = filled(shape, keys)
    codes = codes_of(memory)
    flat = memory.stored_keys.to(torch.float32).flatten(0, 1)
    for asked in (512, 64):
        queries = keys.queries(asked)
        calls: dict[str, Callable[[], object]] = {
            "floor": lambda q=queries: product(q[0], flat),
            "torch": lambda q=queries: memory.nearest_slots(q, K),
        }
        if codes is not None:
            calls["8 bits"] = lambda q=queries: memory.index_search(q, K)
        taken = times(calls, {8192: 3 * REPEATS, 262144: 5}.get(entries, REPEATS))
        where = f"{asked} queries, {entries:,} entries of width {dim}, {name}"
        if codes is not None:
            goal = (REPEATING if name == "repeating" else GOALS)[entries] * (1 if asked == 512 else FEW)
            rows.append(row(f"8-bit pass / product: {where}", ratio(taken, "8 bits", "floor"), goal))
        rows.append(row(f"torch / product: {where}", ratio(taken, "torch", "floor"), TORCH))
    if codes is not None and name == "drifting":
        query = keys.queries(1)
        words = codes.view(-1).view(torch.int64)
        pass_alone, whole = (lambda: memory.index_search(query, K)), (lambda: memory.search(query, K))
        taken = times({"read": words.sum, "pass": pass_alone, "search": whole}, 4 * REPEATS)
        where = f"reading the codes once: 1 query, {entries:,} entries of width {dim}"
        goal = 1.5 if entries == min(GOALS) else 1.2
        rows.append(row(f"8-bit pass / {where}", ratio(taken, "pass", "read"), goal))
        rows.append(reported(f"whole search / {where}", ratio(taken, "search", "read")))


def stored_in_8_bits(rows: Rows, entries: int) -> None:
    """512, 64 and one query of keys that are stored in 8 bits, beside the same keys in float32."""
    shape = MemoryShape(rows=1, heads=1, key_dim=64, value_dim=1, capacity=entries)
    keys = {dtype: KEY_SETS["drifting"](shape) for dtype in ("float32", "int8")}
    memories = {dtype: filled(shape, same, dtype=dtype) for dtype, same in keys.items()}
    for asked in (512, 64, 1):
        queries = keys["float32"].queries(asked)
        taken = times({dtype: lambda m=memory, q=queries: m.index_search(q, K) for dtype, memory in memories.items()})
        what = f"a store in int8 / in float32: {asked} queries, {entries:,} entries of width 64"
        reached = ratio(taken, "int8", "float32")
        rows.append(row(what, reached, 1.1) if asked > 1 else reported(what, reached))


def variants(rows: Rows, entries: int) -> dict[str, float]:
    """512 queries of a single memory, by each variant of the loop that this processor runs; return their seconds."""
    shape = MemoryShape(rows=1, heads=1, key_dim=64, value_dim=1, capacity=entries)
    keys = {name: KEY_SETS["drifting"](shape) for name in library.runnable()}
    memories = {name: _forced(name, shape, same) for name, same in keys.items()}
    queries = next(iter(keys.values())).queries(512)
    flat = next(iter(memories.values())).stored_keys.to(torch.float32).flatten(0, 1)
    calls = {name: lambda memory=memory: memory.index_search(queries, K) for name, memory in memories.items()}
    taken = times({"floor": lambda: product(queries[0], flat), **calls}, REPEATS if entries < 1 << 18 else 5)
    for name in memories:
        what = f"8-bit pass by {name} / product: 512 queries, {entries:,} entries"
        reached = ratio(taken, name, "floor")
        if goals := OF_VARIANTS.get(name):
            rows.append(row(what, reached, goals[entries]))
        else:
            rows.append(reported(what, reached))
    return {name: statistics.median(taken[name]) for name in memories}


def growth(rows: Rows, seconds: Mapping[int, Mapping[str, float]]) -> None:
    """How each variant's seconds grow, by entries: the slope in logarithms."""
    least, most = min(seconds), max(seconds)
    for name in seconds[least]:
        slope = math.log(seconds[most][name] / seconds[least][name]) / math.log(most / least)
        rows.append(row(f"8-bit pass by {name}: slope from {least:,} to {most:,} entries", slope, 1.1))


def _forced(variant: str, shape: MemoryShape, keys: KeyStream) -> ExactMemory:
    """A full memory that is searched by this variant."""
    before = os.environ.get(library.VARIABLE, "")
    os.environ[library.VARIABLE] = variant
    try:
        return filled(shape, keys, first_pass="int8")
    finally:
        os.environ[library.VARIABLE] = before


def two_threads(rows: Rows, entries: int) -> None:
    """The same question on one thread and on two."""
    shape = MemoryShape(rows=1, heads=1, key_dim=64, value_dim=1, capacity=entries)
    keys = KEY_SETS["drifting"](shape)
    memory, queries = filled(shape, keys), keys.queries(512)

    def on(threads: int) -> Callable[[], object]:
        def call() -> object:
            torch.set_num_threads(threads)
            try:
                return memory.index_search(queries, K)
            finally:
                torch.set_num_threads(1)

        return call

    taken = times({"one": on(1), "two": on(2)}, 2 * REPEATS, time.perf_counter)
    reached = ratio(taken, "one", "two")
    rows.append(row(f"one thread / two: 512 queries, {entries:,} entries", reached, 1.8, least=True))


def eight_memories(rows: Rows) -> None:
    """Eight memories of keys without any structure in one call, 512 queries each, against their products one by one."""
    shape = MemoryShape(rows=1, heads=8, key_dim=64, value_dim=1, capacity=8192)
    keys = KEY_SETS["isotropic"](shape)
    memory, queries = filled(shape, keys), keys.queries(512)
    flat = memory.stored_keys.to(torch.float32).flatten(0, 1)

    def floor() -> None:
        for one in range(shape.heads):
            product(queries[0, one : one + 1], flat[one : one + 1])

    taken = times({"floor": floor, "search": lambda: memory.index_search(queries, K)}, 5)
    what = "search / product: 8 memories x 8,192 entries, 512 queries each, isotropic"
    rows.append(row(what, ratio(taken, "search", "floor"), 1.0))


def many_memories(rows: Rows) -> None:
    """128 memories of 4,096 keys, 64 queries each, in one call."""
    shape = MemoryShape(rows=16, heads=8, key_dim=64, value_dim=1, capacity=4096)
    keys = KEY_SETS["drifting"](shape)
    memory, queries = filled(shape, keys), keys.queries(64)
    flat = memory.stored_keys.to(torch.float32).flatten(0, 1)
    taken = times(
        {
            "naive": lambda: torch.bmm(queries.flatten(0, 1), flat.mT).topk(K),
            "search": lambda: memory.index_search(queries, K),
        },
        5,
    )
    reached = ratio(taken, "search", "naive")
    rows.append(row("search / bmm and topk: 128 memories x 4,096 entries, 64 queries", reached, 0.5))


def working_memory(rows: Rows) -> None:
    """How far a search of many entries raises the process's peak above one of few."""
    _peak(1 << 14, "auto")  # what is taken once
    peaks = [_peak(entries, first_pass) for first_pass in ("auto", "none") for entries in (1 << 14, 1 << 19)]
    for name, few, many in (("8-bit pass", *peaks[:2]), ("torch", *peaks[2:])):
        rows.append(row(f"{name}: MB that a search of 512k entries takes beyond one of 16k", (many - few) / 1e6, 1.0))


def _peak(entries: int, first_pass: str) -> float:
    """Bytes above what the process held before, at most, during a search."""
    shape = MemoryShape(rows=1, heads=1, key_dim=64, value_dim=1, capacity=entries)
    keys = KEY_SETS["drifting"](shape)
    memory, queries = filled(shape, keys, first_pass=first_pass), keys.queries(512)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _resident("VmRSS")
    memory.index_search(queries, K)
    return _resident("VmHWM") - before


def _resident(what: str) -> float:
    status = Path("/proc/self/status").read_text().split()
    return 1024 * float(status[status.index(f"{what}:") + 1])


def bytes_per_entry(rows: Rows) -> None:
    """What a memory keeps beside keys, values and the 8-bit keys, in parts of a hundred of them."""
    for dim, dtype in ((64, "float32"), (128, "bfloat16")):
        shape = MemoryShape(rows=1, heads=1, key_dim=dim, value_dim=dim, capacity=1 << 14)
        memory = filled(shape, KEY_SETS["isotropic"](shape), dtype=dtype)
        entry = 2 * dim * getattr(torch, dtype).itemsize
        kept = codes_of(memory)
        codes = kept.nbytes / shape.capacity if kept is not None else 0
        beside = _bytes_held(memory) / shape.capacity - entry - codes
        rows.append(
            row(f"% of an entry's bytes kept beside it: width {dim}, {dtype}", 100 * beside / (entry + codes), 2)
        )


def _bytes_held(thing: object) -> int:
    """Bytes of all tensors among an object's attributes, and theirs."""
    if isinstance(thing, torch.Tensor):
        return thing.nbytes
    inner = vars(thing).values() if type(thing).__module__.startswith("memstack") and hasattr(thing, "__dict__") else ()
    return sum(_bytes_held(each) for each in inner)


def main(
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="Where to write the figures as JSON.")] = None,
    quick: Annotated[bool, typer.Option(help="Only 8,192 entries of width 64: some seconds.")] = False,
    only_variants: Annotated[bool, typer.Option("--variants", help="Only the loop's variants, one by one.")] = False,
) -> None:
    """Print each figure beside its goal."""
    torch.set_num_threads(1)
    rows, watch = Rows(), Watch()
    if not only_variants:
        searches(rows, quick)
    try:
        seconds = {entries: variants(rows, entries) for entries in ((8192,) if quick else GOALS)}
    except BackendUnavailableError as error:
        console.OUT.print(f"no variant of the 8-bit pass runs here: {error}")
    else:
        if not quick:
            growth(rows, seconds)
    show(rows)
    console.write_record(out, ExactGoals(rows=tuple(rows), others=watch.tell()))


def searches(rows: Rows, quick: bool) -> None:
    """All but the variants."""
    cells = [(64, 8192, "drifting")]
    if not quick:
        cells = [(dim, entries, "drifting") for dim in (64, 128) for entries in GOALS]
        cells += [(64, entries, name) for name in ("isotropic", "repeating") for entries in (8192, 65536)]
    for cell in cells:
        one_memory(rows, *cell)
    bytes_per_entry(rows)
    for entries in (8192,) if quick else (8192, 65536):
        stored_in_8_bits(rows, entries)
    if not quick:
        eight_memories(rows)
        many_memories(rows)
        two_threads(rows, 65536)
        if os.access("/proc/self/clear_refs", os.W_OK):
            working_memory(rows)


if __name__ == "__main__":
    typer.run(main)
