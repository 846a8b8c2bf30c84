"""Adds to a memory whose server is killed, stopped and loses answers; and what it holds of them in the end."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from random import Random
from typing import Any, NamedTuple

import torch
from helpers.fake_store import store_of
from helpers.stand_in import StandIn

from memstack import Memory, MemoryShape

N = 16
"""Entries of every row that an add brings."""


class Faults(NamedTuple):
    """How often each, and for how many seconds a server stands still."""

    kills: int
    stops: int
    lost: int
    still: tuple[float, float]


def adds_through_faults(memory: Memory, server: StandIn, adds: int, faults: Faults, seed: int) -> float:
    """Add and search in turns, each add's entries being looked for at once; return the longest that a call took.

    Faults come at random adds, some while the call is under way.
    """
    random, generator = Random(seed), torch.Generator().manual_seed(seed)
    kinds = ["kill"] * faults.kills + ["stop"] * faults.stops + ["lose"] * faults.lost
    planned = dict(zip(random.sample(range(adds), len(kinds)), kinds, strict=True))
    longest = 0.0
    for number in range(adds):
        keys = torch.nn.functional.normalize(_numbers(memory.shape, memory.shape.key_dim, generator), dim=-1)
        values = _numbers(memory.shape, memory.shape.value_dim, generator)
        with _fault(server, planned.get(number, ""), random, faults):
            begun = time.monotonic()
            memory.add(keys, values)
            longest = max(longest, time.monotonic() - begun)
            begun = time.monotonic()
            found = memory.search(keys, 1)
            longest = max(longest, time.monotonic() - begun)
        expected = torch.arange(number * N, (number + 1) * N).expand(found.positions.shape[:3])
        assert torch.equal(found.positions[..., 0], expected), f"add {number}: not all of it was found at once"
        assert torch.allclose(found.values[..., 0, :], values)
    return longest


def stored(memory: Any) -> int:
    """How many points the server holds for a memory."""
    return store_of(memory).count(30.0)


def _numbers(shape: MemoryShape, dim: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape.rows, shape.heads, N, dim, generator=generator)


@contextmanager
def _fault(server: StandIn, kind: str, random: Random, faults: Faults) -> Generator[None]:
    """Let a fault come a little later; when this is left, it is over."""
    if kind == "lose":
        server.lose(1)
    if kind not in ("kill", "stop"):
        yield
        return
    strikes = server.kill if kind == "kill" else server.stop
    ends = server.start if kind == "kill" else server.go_on
    delay, still = random.choice((0.0, random.uniform(0, 0.1))), random.uniform(*faults.still)

    def strike() -> None:
        time.sleep(delay)
        strikes()
        time.sleep(still)
        ends()

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        yield
    finally:
        thread.join()
