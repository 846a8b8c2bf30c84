"""measure_memory: recall of a full memory that turns over, and the time of each of its verbs."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from memstack.contract.errors import MemstackError
from memstack.contract.memory import Memory
from memstack.contract.metrics import attention_mass_recall_by_score, recall_by_score
from memstack.contract.shape import MemoryShape
from memstack.measure.ground_truth import true_neighbours
from memstack.measure.keysets import KEY_SETS, KeyStream
from memstack.measure.timing import Timing, time_in_turns, timed

CHUNK = 256  # entries per add
NEIGHBOURS = 32
ATTENTION_SCALE = 10.0  # of cosines before the softmax: what heads of trained models have, in order of magnitude
PATIENCE = 10  # times the limit by the clock, for a memory that waits, as a remote one does

Start = Callable[[MemoryShape, int, torch.device], KeyStream]
"""Starts a stream of keys from shape, seed and device: a class of ``KEY_SETS``, say."""


class TooSlowError(MemstackError):
    """A memory was given up on, for its adds took longer than was allowed."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one memory did with one key set. All times are of one call for all rows and heads together."""

    key_set: str
    neighbours: int
    """k of the searches."""
    recall: float
    """Fraction of the true neighbours found, by score, at capacity after some turnover."""
    attention_mass_recall: float
    """The same, each neighbour weighted by its softmax weight."""
    search: Mapping[int, Timing]
    """By number of queries per row and head."""
    fill: Timing
    """Adds of a chunk until the memory was full: the worst is the one that trains or rebuilds."""
    add: Timing
    """Adds of a chunk to the full memory, each replacing the oldest entries."""
    reset: Timing
    """Resets of one full row, each row in turn."""
    beside: Mapping[int, Timing]
    """Searches of another memory, made in turns with those of this one; empty if there was none."""


def measure_memory(
    memory: Memory,
    key_set: str,
    *,
    neighbours: int = NEIGHBOURS,
    chunk: int = CHUNK,
    turnover: float = 0.25,
    queries: Sequence[int] = (64, 256),
    repeats: int = 5,
    seed: int = 0,
    start: Start | None = None,
    limit_s: float = math.inf,
    beside: Memory | None = None,
) -> Measurement:
    """Fill an empty memory from a key set, replace ``turnover`` of it, and measure what it then finds and costs.

    ``queries`` are the numbers of queries per row and head to time; recall is measured on the largest. Keys and queries
    lie where the memory does. The memory is empty again at the end. ``start`` brings keys of another kind than those of
    ``KEY_SETS``; ``key_set`` is then only what they are called. TooSlowError once filling, or turning over, has taken
    ``limit_s`` both by the clock and of the processor, or ten times as long by the clock: a machine that is busy with
    something else makes no memory too slow. ``beside`` is a full memory that is asked the same, in turns with this one.
    """
    device, capacity = memory.device, memory.shape.capacity
    start = start or KEY_SETS[key_set]
    _warm_up(memory, start(memory.shape, seed + 1, device), neighbours, chunk)
    stream = start(memory.shape, seed, device)
    fill = add_entries(memory, stream, capacity, chunk, limit_s)
    # An index that is built again once all has been replaced does so in the add after that.
    replaced = round(turnover * capacity) + (chunk if turnover >= 1 else 0)
    add = add_entries(memory, stream, max(chunk, replaced), chunk, limit_s)
    asked = stream.queries(max(queries))
    truth = true_neighbours(memory, asked, neighbours, device)
    found = memory.search(asked, neighbours)
    searched = {q: _time_search((memory, beside), asked[:, :, :q], neighbours, repeats) for q in queries}
    return Measurement(
        key_set=key_set,
        neighbours=neighbours,
        recall=recall_by_score(found, truth),
        attention_mass_recall=attention_mass_recall_by_score(found, truth, ATTENTION_SCALE),
        search={q: timings[0] for q, timings in searched.items()},
        fill=fill,
        add=add,
        reset=_time_resets(memory),
        beside={q: timings[1] for q, timings in searched.items() if len(timings) > 1},
    )


def add_entries(
    memory: Memory, stream: KeyStream, entries: int, chunk: int = CHUNK, limit_s: float = math.inf
) -> Timing:
    """Add the stream's next entries to every row and head, chunk by chunk; return the time of each add.

    The last chunk is smaller if need be. Values are random: no search looks at them. TooSlowError once the adds have
    taken ``limit_s`` and more are left, see ``measure_memory``.
    """
    shape, device = memory.shape, memory.device
    random = torch.Generator().manual_seed(0)
    values = torch.randn(
        shape.rows, shape.heads, chunk, shape.value_dim, generator=random, dtype=torch.float32, device="cpu"
    ).to(device)
    seconds: list[float] = []
    begun = time.process_time()
    for n in [chunk] * (entries // chunk) + [entries % chunk] * bool(entries % chunk):
        if _is_over(sum(seconds), time.process_time() - begun, limit_s):
            added = chunk * len(seconds)
            raise TooSlowError(f"adding {added:,} of {entries:,} entries took more than the {limit_s:.3g} s allowed")
        keys = stream.keys(n).to(device)
        seconds.append(timed(lambda keys=keys, n=n: memory.add(keys, values[:, :, :n]), device)[1])
    return Timing(tuple(seconds))


def _is_over(clock_s: float, processor_s: float, limit_s: float) -> bool:
    """Whether too long was waited: threads make the processor's time the longer, a busy machine the clock's."""
    return min(clock_s, processor_s) > limit_s or clock_s > PATIENCE * limit_s


def _warm_up(memory: Memory, stream: KeyStream, neighbours: int = NEIGHBOURS, chunk: int = CHUNK) -> None:
    """One round of every verb: what a library loads or compiles at its first call is not the memory's cost."""
    add_entries(memory, stream, min(chunk, memory.shape.capacity), chunk)
    memory.search(stream.queries(1), neighbours)
    memory.reset()


def _time_search(
    memories: Sequence[Memory | None], queries: torch.Tensor, neighbours: int, repeats: int
) -> list[Timing]:
    """In turns, each asked on its own device."""
    asked = [(memory, queries.to(memory.device)) for memory in memories if memory is not None]
    calls = [lambda memory=memory, mine=mine: memory.search(mine, neighbours) for memory, mine in asked]
    return time_in_turns(calls, repeats=repeats, device=asked[0][0].device)


def _time_resets(memory: Memory) -> Timing:
    one_row = torch.eye(memory.shape.rows, dtype=torch.bool, device="cpu")
    seconds = [timed(lambda row=row: memory.reset(row), memory.device)[1] for row in one_row]
    return Timing(tuple(seconds))
