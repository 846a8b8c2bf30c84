"""Runbooks: what a memory lives through, written down step by step, and play(), which takes one through it, timed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from memstack.contract.memory import Memory
from memstack.contract.shape import MemoryShape
from memstack.measure.keysets import KeyStream
from memstack.measure.measurement import CHUNK, NEIGHBOURS
from memstack.measure.timing import Timing, timed

# Every 25th length of the tokenised train documents of the Python standard library, from a short module to a long one.
DOCUMENT_LENGTHS = (
    *(3_492, 4_004, 4_523, 5_291, 6_274, 7_771, 8_948, 10_474),
    *(11_968, 14_578, 17_845, 22_206, 27_822, 35_619, 54_202, 96_451),
)
EMPTY = 0.95
"""The part of the rows that ``mostly_empty`` keeps without entries."""
VERBS = ("reset", "search", "add")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a training loop: some rows start a document, every row asks, then every row adds."""

    resets: tuple[int, ...] = ()
    """Rows that are reset."""
    queries: int = 0
    """Asked per row and head, unless the memory is empty; 0 asks nothing."""
    entries: int = CHUNK
    """Added per row and head."""


@dataclass(frozen=True, kw_only=True)
class Runbook:
    """What a memory lives through, as data. It begins empty."""

    before: tuple[Step, ...] = ()
    """Brings the memory to the state in question; not timed."""
    steps: tuple[Step, ...]
    """What is timed."""


@dataclass(frozen=True)
class Played:
    """How long every call took; all rows and heads together, in the order of the steps."""

    timings: dict[str, Timing]
    """By verb: ``reset``, ``search`` and ``add``; a verb that the runbook does not use is missing. ``step`` is a whole
    step, all of its verbs together."""


@dataclass
class _Player:
    """A memory, the keys it is given, and the seconds its verbs took."""

    memory: Memory
    stream: KeyStream
    neighbours: int
    seconds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def step(self, step: Step) -> None:
        """Reset, search and add, in the order in which a training step does."""
        spent = 0.0
        if step.resets:
            rows = torch.zeros(self.memory.shape.rows, dtype=torch.bool, device="cpu")
            rows[list(step.resets)] = True
            spent += self._timed("reset", lambda: self.memory.reset(rows))
        # Queries resemble the newest keys: before the first ones there is nothing to ask.
        if step.queries and bool(self.memory.lengths.any()):
            queries = self.stream.queries(step.queries)
            spent += self._timed("search", lambda: self.memory.search(queries, self.neighbours))
        keys = self.stream.keys(step.entries)
        values = _values(self.memory.shape, keys)
        spent += self._timed("add", lambda: self.memory.add(keys, values))
        self.seconds.setdefault("step", []).append(spent)

    def _timed(self, verb: str, call: Callable[[], object]) -> float:
        seconds = timed(call, self.memory.device)[1]
        self.seconds.setdefault(verb, []).append(seconds)
        return seconds


def play(runbook: Runbook, memory: Memory, stream: KeyStream, neighbours: int = NEIGHBOURS) -> Played:
    """Take an empty memory through a runbook with the stream's keys and queries; return the time of every call.

    The stream lies where the memory works. The memory stays in the state to which the runbook led it.
    """
    for step in runbook.before:
        _Player(memory, stream, neighbours).step(step)
    player = _Player(memory, stream, neighbours)
    for step in runbook.steps:
        player.step(step)
    return Played({name: Timing(tuple(seconds)) for name, seconds in player.seconds.items()})


def fill(shape: MemoryShape, tokens: int) -> Runbook:
    """An empty memory is given so many entries, at most its capacity: the worst add is one that trains or rebuilds."""
    return Runbook(steps=tuple(_adds(min(tokens, shape.capacity))))


def steady(shape: MemoryShape, tokens: int) -> Runbook:
    """A full memory: every step asks, and its entries replace the oldest ones."""
    return Runbook(before=tuple(_adds(shape.capacity)), steps=tuple(_adds(tokens, queries=CHUNK)))


def documents(shape: MemoryShape, tokens: int, lengths: tuple[int, ...] = DOCUMENT_LENGTHS) -> Runbook:
    """Rows read documents of these lengths, each row other ones, and are reset when one ends: as in training."""
    # Rows begin at even distances through the list, somewhere inside a document, as rows of a long run are.
    starts = [row * len(lengths) // shape.rows for row in range(shape.rows)]
    ends = [_ends(lengths[start:] + lengths[:start], lengths[start] // 2, tokens) for start in starts]
    steps = [
        Step(resets=tuple(row for row, at in enumerate(ends) if step in at), queries=CHUNK)
        for step in range(tokens // CHUNK)
    ]
    return Runbook(steps=tuple(steps))


def mostly_empty(shape: MemoryShape, tokens: int) -> Runbook:
    """A batch of short texts: every step begins all but a few rows anew, so that 95 % hold nothing when they are asked.

    The others are full. One of those takes 20 rows.
    """
    kept = shape.rows - round(EMPTY * shape.rows)
    empty = tuple(range(kept, shape.rows))
    before = Step(resets=empty)
    return Runbook(
        before=(before,) * (shape.capacity // CHUNK),
        steps=(Step(resets=empty, queries=CHUNK),) * (tokens // CHUNK),
    )


def long_document(shape: MemoryShape, tokens: int) -> Runbook:
    """One document of so many tokens, a million, say: no reset, and far more entries than the memory holds."""
    return Runbook(steps=tuple(_adds(tokens, queries=CHUNK)))


RUNBOOKS: dict[str, Callable[[MemoryShape, int], Runbook]] = {
    "fill": fill,
    "steady": steady,
    "documents": documents,
    "mostly-empty": mostly_empty,
    "long-document": long_document,
}
"""The runbooks by name: ``RUNBOOKS[name](shape, tokens)``, with the tokens that each row reads while it is timed."""


def _adds(tokens: int, queries: int = 0) -> Iterator[Step]:
    """Steps that add so many entries, a chunk each; the last is smaller if need be."""
    for done in range(0, tokens, CHUNK):
        yield Step(queries=queries, entries=min(CHUNK, tokens - done))


def _ends(lengths: Sequence[int], read: int, tokens: int) -> set[int]:
    """In which of the steps a row that has read part of the first document starts another one."""
    ends: set[int] = set()
    at, document = -read, 0
    while at < tokens:
        at += lengths[document % len(lengths)]
        document += 1
        ends.add(-(-at // CHUNK))
    return ends


def _values(shape: MemoryShape, keys: Tensor) -> Tensor:
    """Values for these keys; no search looks at them."""
    return keys.new_ones(()).expand(shape.rows, shape.heads, keys.shape[2], shape.value_dim)
