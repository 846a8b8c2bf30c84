"""One more step: something is asked that has to be refused, and changes nothing."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Self

import torch
from torch import Tensor

from memstack.contract.errors import MemstackError, NonFiniteError, ShapeError, StateError
from memstack.testing.assertions import ensure_raises
from memstack.testing.thorough.run import Run, World
from memstack.testing.thorough.steps import Step, asked, drawn, seed_of
from memstack.testing.thorough.vectors import generator


@dataclass(frozen=True, repr=False)
class Refused(Step):
    """Something that does not fit is refused with its own error, and changes nothing."""

    what: str = ""

    @classmethod
    def draw(cls, random: Random, world: World) -> Self:
        return cls(seed_of(random), what=random.choice(tuple(MISTAKES)))

    def do(self, run: Run) -> None:
        error, mistake = MISTAKES[self.what]
        ensure_raises(error, self.what, partial(mistake, run, generator(self.seed)))
        run.count()
        run.look()


def _pairs(run: Run, random: torch.Generator, more: int = 0) -> tuple[Tensor, Tensor]:
    """Keys and values that fit; of any number of entries, also of more than the capacity."""
    n = int(torch.randint(1, run.shape.capacity + 4, (), generator=random, dtype=torch.int64, device="cpu"))
    keys = drawn(run, random, n + more, run.shape.key_dim, "usual", "float32")
    return keys, drawn(run, random, n, run.shape.value_dim, "usual", "float32")


def _spoilt(run: Run, random: torch.Generator, number: float) -> tuple[Tensor, Tensor]:
    """Keys of which one number is another, at any place: also one that would leave at once."""
    keys, values = _pairs(run, random)
    place = int(torch.randint(keys.numel(), (), generator=random, dtype=torch.int64, device="cpu"))
    keys.view(-1)[place] = number
    return keys, values


def _add_lengths(lengths: Callable[[int, int], Tensor]) -> Callable[[Run, torch.Generator], None]:
    """Add with lengths made of the number of rows and of entries."""

    def add(run: Run, random: torch.Generator) -> None:
        keys, values = _pairs(run, random)
        run.memory.add(keys, values, lengths(run.shape.rows, keys.shape[2]))

    return add


def _load(run: Run, random: torch.Generator, spoil: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]) -> None:
    run.memory.load_state_dict(spoil(run.memory.state_dict()))


def _without(name: str) -> Callable[[Run, torch.Generator], None]:
    return lambda run, random: _load(run, random, lambda state: {key: state[key] for key in state if key != name})


def _longer(keys: Tensor) -> Tensor:
    return torch.cat([keys, keys.new_zeros(*keys.shape[:2], 1, keys.shape[3])], 2)


def _widened(run: Run, random: torch.Generator) -> Tensor:
    queries = asked(run, random, 1, 1, "usual")
    return torch.cat([queries, queries[..., :1]], -1)


def _search_all(run: Run, queries: Tensor, k: int) -> None:
    """Each door has to refuse; the last one's error counts."""
    for ask in run.doors:
        ensure_raises(ShapeError, "a door", partial(ask, queries, k))
    run.memory.search_exactly(queries, k)


Mistake = Callable[[Run, torch.Generator], Any]
MISTAKES: dict[str, tuple[type[MemstackError], Mistake]] = {
    "a key of NaN": (NonFiniteError, lambda run, random: run.memory.add(*_spoilt(run, random, math.nan))),
    "a key of inf": (NonFiniteError, lambda run, random: run.memory.add(*_spoilt(run, random, math.inf))),
    "a key of -inf": (NonFiniteError, lambda run, random: run.memory.add(*_spoilt(run, random, -math.inf))),
    "more keys than values": (ShapeError, lambda run, random: run.memory.add(*_pairs(run, random, more=1))),
    "keys of ints": (ShapeError, lambda run, random: run.memory.add(*(each.long() for each in _pairs(run, random)))),
    "keys without an axis": (
        ShapeError,
        lambda run, random: run.memory.add(*(each[0] for each in _pairs(run, random))),
    ),
    "too long a length": (
        ShapeError,
        _add_lengths(lambda rows, n: torch.tensor([0] * (rows - 1) + [n + 1], dtype=torch.int64, device="cpu")),
    ),
    "a negative length": (
        ShapeError,
        _add_lengths(lambda rows, n: torch.tensor([n] * (rows - 1) + [-1], dtype=torch.int64, device="cpu")),
    ),
    "lengths of floats": (
        ShapeError,
        _add_lengths(lambda rows, n: torch.ones(rows, dtype=torch.float32, device="cpu")),
    ),
    "lengths of too many rows": (
        ShapeError,
        _add_lengths(lambda rows, n: torch.tensor([n] * (rows + 1), dtype=torch.int64, device="cpu")),
    ),
    "queries too wide": (ShapeError, lambda run, random: _search_all(run, _widened(run, random), 1)),
    "queries of no head": (
        ShapeError,
        lambda run, random: _search_all(run, asked(run, random, 1, 1, "usual")[:, :0], 1),
    ),
    "k of 0": (ShapeError, lambda run, random: _search_all(run, asked(run, random, 1, 1, "usual"), 0)),
    "a reset mask of ints": (
        ShapeError,
        lambda run, _: run.memory.reset(torch.ones(run.shape.rows, dtype=torch.float32, device="cpu").long()),
    ),
    "too long a reset mask": (
        ShapeError,
        lambda run, _: run.memory.reset(torch.ones(run.shape.rows + 1, dtype=torch.float32, device="cpu").bool()),
    ),
    "a row that is none": (
        ShapeError,
        lambda run, _: run.memory.select(
            torch.full((run.shape.rows,), run.shape.rows, dtype=torch.int64, device="cpu")
        ),
    ),
    "a negative row": (
        ShapeError,
        lambda run, _: run.memory.select(torch.full((run.shape.rows,), -1, dtype=torch.int64, device="cpu")),
    ),
    "too few rows": (
        ShapeError,
        lambda run, _: run.memory.select(torch.arange(run.shape.rows - 1, dtype=torch.int64, device="cpu")),
    ),
    "a state without keys": (StateError, _without("keys")),
    "a state without counters": (StateError, _without("written")),
    "a state of a negative counter": (
        StateError,
        lambda run, random: _load(run, random, lambda state: {**state, "written": -1 - state["written"]}),
    ),
    "a state of another shape": (
        StateError,
        lambda run, random: _load(run, random, lambda state: {**state, "shape": state["shape"] + 1}),
    ),
    "a state with an entry too many": (
        StateError,
        lambda run, random: _load(run, random, lambda state: {**state, "keys": _longer(state["keys"])}),
    ),
}
"""What is refused, with which error, and how it is asked."""
