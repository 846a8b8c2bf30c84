"""What goes wrong on one rank is told on all: bad input, calls out of step, a rank that is gone or stands still."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from helpers.ranks import on_ranks
from helpers.sharded import refusal, sharded

from memstack import MemoryBank, MemoryShape, NonFiniteError, ShapeError, StateError, search
from memstack.testing.assertions import ensure_same_state
from memstack.testing.harness import Data
from memstack.wrappers.sharded import ShardedMemory

SHAPE = MemoryShape(rows=2, heads=2, key_dim=4, value_dim=3, capacity=40)
N, LIMIT = 6, 3.0


def spoiled(rank: int, tensor: torch.Tensor, number: float = torch.nan) -> torch.Tensor:
    """The tensor with one number replaced, on rank 1 alone."""
    given = tensor.clone()
    given.view(-1)[7] = number if rank == 1 else given.view(-1)[7]
    return given


def short(rank: int, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor without its last number of each vector, on rank 1 alone."""
    return tensor[..., :-1] if rank == 1 else tensor


Refused = Callable[[int, ShardedMemory, Data], Any]
REFUSED: dict[str, tuple[type[Exception], Refused]] = {
    "a NaN key": (NonFiniteError, lambda rank, m, d: m.add(spoiled(rank, d.keys(N)), d.values(N))),
    "an infinite value": (NonFiniteError, lambda rank, m, d: m.add(d.keys(N), spoiled(rank, d.values(N), torch.inf))),
    "short keys": (ShapeError, lambda rank, m, d: m.add(short(rank, d.keys(N)), d.values(N))),
    "a NaN key in a commit": (
        NonFiniteError,
        lambda rank, m, d: MemoryBank({3: m}).commit({3: (spoiled(rank, d.keys(N)), d.values(N))}),
    ),
    "short queries": (ShapeError, lambda rank, m, d: m.search(short(rank, d.queries(2)), 3)),
    "no k": (ShapeError, lambda rank, m, d: m.search(d.queries(2), 1 - rank)),
    "another k": (ShapeError, lambda rank, m, d: m.search(d.queries(2), 2 + rank)),
    "another dtype": (ShapeError, lambda rank, m, d: m.search(d.queries(2).to((torch.half, torch.float)[rank]), 2)),
    "a mask of another length": (ShapeError, lambda rank, m, _: m.reset(torch.arange(2 + rank) > 0)),
    "a list": (
        ShapeError,
        lambda rank, m, _: m.reset(cast(Any, [True, True]) if rank else torch.tensor([True, False])),
    ),
    "another mask": (ShapeError, lambda rank, m, _: m.reset(torch.tensor([rank == 0, True]))),
    "a row that is none": (ShapeError, lambda rank, m, _: m.select(torch.tensor([rank + 1, 0]))),
    "other rows": (ShapeError, lambda rank, m, _: m.select(torch.tensor([rank, 0]))),
    "half a state": (StateError, lambda rank, m, _: m.load_state_dict(dict(list(m.state_dict().items())[rank:]))),
    "short weights": (ShapeError, lambda rank, m, d: (f := m.search(d.queries(2), 3)).mix(short(rank, f.scores))),
    "queries of another search": (ShapeError, lambda rank, m, d: m.search(d.queries(2), 3).dot(d.queries(2 + rank))),
}


def refuse(rank: int, ranks: int) -> dict[str, str]:
    """Do each of these with one rank's input wrong; what was raised, where nothing was written."""
    memory, data = sharded(SHAPE, ranks), Data(SHAPE)
    memory.add(data.keys(N), data.values(N))
    before, raised = memory.state_dict(), {}
    for what, (_, action) in REFUSED.items():
        raised[what] = refusal(lambda: action(rank, memory, data))  # noqa: B023
        ensure_same_state(f"after {what}", memory.state_dict(), before)
    found = memory.search(data.queries(2), 3)
    memory.reset()
    raised["stale"] = refusal(lambda: found.mix(found.scores))
    return raised


def test_what_one_rank_refuses_all_refuse_and_nothing_is_written() -> None:
    first, *others = on_ranks(2, refuse, 2)
    assert others == [first]
    for what, (kind, _) in REFUSED.items():
        assert first[what].startswith(f"{kind.__name__}: "), what
    assert first["a NaN key"].startswith("NonFiniteError: rank 1: keys should be finite")
    assert first["short keys"].startswith("ShapeError: rank 1: keys should be (rows=2, heads=2, n, key_dim=4)")
    assert first["another k"].endswith("got rank 0: [2, 2, 0]; rank 1: [2, 3, 0]")
    assert first["stale"].startswith("StaleResultError: the memory has changed")


# Out of step --------------------------------------------------------------------------------------------------------


def out_of_step(rank: int, ranks: int) -> dict[str, str]:
    """Do other things on each rank, and go on from a reset."""
    memory, other, data = sharded(SHAPE, ranks), sharded(SHAPE, ranks), Data(SHAPE)
    keys, values, queries = data.keys(N), data.values(N), data.queries(2)
    told = {"verbs": refusal(lambda: memory.search(queries, 2) if rank else memory.add(keys, values))}
    told["memories"] = refusal(lambda: (memory, other)[rank].add(keys, values))
    memory.add(keys, values)
    answers = [search(memory, queries, 2) for _ in range(2)]
    told["answers"] = refusal(lambda: answers[rank].mix(answers[0].scores))
    if rank == 0:  # between the entries and their positions, which agree no more
        vars(memory.shard.positions)["add"] = interrupt
    try:
        memory.add(keys, values)
    except KeyboardInterrupt:
        del vars(memory.shard.positions)["add"]
    told["interrupted"] = refusal(lambda: memory.add(keys, values))
    memory.reset()
    memory.add(keys, values)
    told["after a reset"] = str(memory.lengths.tolist())
    return told


def interrupt(_: object) -> None:
    raise KeyboardInterrupt


def test_ranks_that_do_different_things_are_told_so() -> None:
    first, *others = on_ranks(2, out_of_step, 2)
    assert others == [first]
    step = "ShardError: the group of ranks 0, 1 is out of step"
    assert first["verbs"].startswith(f"{step} (rank 0: add of memory 0 at 0; rank 1: search of memory 0 at 0)")
    assert first["memories"].startswith(f"{step} (rank 0: add of memory 0 at 0; rank 1: add of memory 1 at 0)")
    assert first["answers"].startswith(f"{step} (rank 0: mix of memory 0 at 1; rank 1: mix of memory 0 at 2)")
    assert first["interrupted"].startswith(f"{step} (rank 0: add of memory 0 at 1; rank 1: add of memory 0 at 2)")
    assert "reset all rows, or load the last saved state, on every rank" in first["interrupted"]
    assert first["after a reset"] == "[12, 12]"


# A rank that is lost --------------------------------------------------------------------------------------------------


def lose(rank: int, ranks: int, by: int, when: str) -> list[tuple[str, float]]:
    """Lose the last rank, before a search or in the midst of it; what the others see, and after how many seconds."""
    memory, data = sharded(SHAPE, ranks, LIMIT), Data(SHAPE)
    memory.add(data.keys(N), data.values(N))
    queries = data.queries(2)
    memory.search(queries, 3)
    if rank == ranks - 1:
        if when == "in a search":
            vars(memory.shard)["search"] = lambda *_: os.kill(os.getpid(), by)
            memory.search(queries, 3)
        os.kill(os.getpid(), by)
    seen: list[tuple[str, float]] = []
    for action in (lambda: memory.search(queries, 3), lambda: memory.add(data.keys(N), data.values(N))):
        start = time.monotonic()
        said = refusal(action)
        seen.append((said, time.monotonic() - start))
    return seen


@pytest.mark.parametrize("when", ["before a search", "in a search"])
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_rank_that_is_lost_is_an_error_on_every_other(by: signal.Signals, when: str) -> None:
    for (first, seconds), (second, at_once) in on_ranks(3, lose, 3, int(by), when, lost=1):
        assert first.startswith("ShardError: the group of ranks 0, 1, 2 has lost a rank, or waited for one beyond")
        assert f"its limit of {LIMIT:g} s" in first
        assert first.endswith("start all ranks again, from the last saved state")
        assert seconds < LIMIT + 1
        assert second == first
        assert at_once < 0.5
