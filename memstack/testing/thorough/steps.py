"""Steps: what may happen to a memory, each with a seed of its own, so that leaving others out changes none."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from random import Random
from typing import Any, Self

import torch
from torch import Tensor

from memstack.contract.validation import Padded
from memstack.testing.thorough.run import Run, World
from memstack.testing.thorough.vectors import DTYPES, KINDS, LAYOUTS, Kind, Layout, generator, laid_out, vectors

MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "": nullcontext,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}
"""In which a step may be done, and change nothing."""
OFTEN_PLAIN = ("",) * 7 + tuple(MODES)[1:]


@dataclass(frozen=True, repr=False)
class Step(ABC):
    """One thing that happens to a memory."""

    seed: int

    @classmethod
    @abstractmethod
    def draw(cls, random: Random, world: World) -> Self:
        """Draw a step of this kind."""

    @abstractmethod
    def do(self, run: Run) -> None:
        """Do it to memory and oracle; AssertionError, or whatever the memory raises, if they differ."""

    def __repr__(self) -> str:
        """As it is typed, what is as usual left out."""
        told = [f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if self._is_odd(each.name)]
        return f"{type(self).__name__}({', '.join(told)})"

    def _is_odd(self, name: str) -> bool:
        """Whether it is not what it is by default."""
        return getattr(self, name) != getattr(type(self), name, self)


@dataclass(frozen=True, repr=False)
class Add(Step):
    """Entries are added."""

    n: int
    lengths: tuple[int, ...] | None = None
    padded: Padded = "right"
    keys: Kind = "usual"
    values: Kind = "usual"
    dtype: str = "float32"
    layout: Layout = "contiguous"
    grad: bool = False
    mode: str = ""

    @classmethod
    def draw(cls, random: Random, world: World) -> Self:
        n, ragged = drawn_n(random, world.shape.capacity), random.random() < 0.3
        values = random.choice(KINDS) if random.random() < 0.9 else "usual"
        return cls(
            seed_of(random),
            n=n,
            lengths=tuple(random.randint(0, n) for _ in range(world.shape.rows)) if ragged else None,
            padded=random.choice(("right", "left")) if ragged else "right",
            keys=random.choice(KINDS),
            values=values,
            dtype=random.choice(DTYPES),
            layout=random.choice(LAYOUTS),
            grad=random.random() < 0.1,
            mode=random.choice(OFTEN_PLAIN),
        )

    def do(self, run: Run) -> None:
        random = generator(self.seed)
        shape = run.shape
        keys = self._laid_out(drawn(run, random, self.n, shape.key_dim, self.keys, self.dtype))
        values = self._laid_out(drawn(run, random, self.n, shape.value_dim, self.values, self.dtype))
        with MODES[self.mode]():
            run.give(keys, values, self.lengths, self.padded)
        for tensor in (keys, values):  # they are the caller's, who may write anything into them from now on
            bytes_: Any = tensor.untyped_storage()
            bytes_.fill_(85)
        run.count()

    def _laid_out(self, numbers: Tensor) -> Tensor:
        return laid_out(numbers, self.dtype, self.layout).requires_grad_(self.grad)


@dataclass(frozen=True, repr=False)
class Search(Step):
    """A question by both doors, and its answer beside the oracle's."""

    k: int
    q: int = 1
    group: int = 1
    queries: Kind = "usual"
    dtype: str = "float32"
    layout: Layout = "contiguous"
    nan: bool = False
    mode: str = ""

    @classmethod
    def draw(cls, random: Random, world: World) -> Self:
        return cls(
            seed_of(random),
            k=drawn_k(random, world.shape.capacity),
            q=random.choice((0, 1, 1, 1, 2, 3)),
            group=random.choice((1, 1, 1, 1, 2, 3)),
            queries=random.choice(KINDS),
            dtype=random.choice(DTYPES),
            layout=random.choice(LAYOUTS),
            nan=random.random() < 0.05,
            mode=random.choice(OFTEN_PLAIN),
        )

    def asked(self, run: Run) -> Tensor:
        """The queries."""
        random = generator(self.seed)
        queries = asked(run, random, self.q, self.group, self.queries, self.dtype).to(getattr(torch, self.dtype))
        if self.nan and self.q:
            queries = queries.clone()
            queries[:, :, int(torch.randint(self.q, (), generator=random, dtype=torch.int64, device="cpu")), 0] = (
                torch.nan
            )
        return laid_out(queries, self.dtype, self.layout)

    def do(self, run: Run) -> None:
        queries = self.asked(run)
        with MODES[self.mode]():
            run.ask(queries, self.k)


@dataclass(frozen=True, repr=False)
class SearchExactly(Search):
    """A question that is to be answered exactly, whatever the index."""

    def do(self, run: Run) -> None:
        queries = self.asked(run)
        with MODES[self.mode]():
            run.ask_exactly(queries, self.k)


@dataclass(frozen=True, repr=False)
class Reset(Step):
    """Rows are forgotten."""

    rows: tuple[bool, ...] | None = None

    @classmethod
    def draw(cls, random: Random, world: World) -> Self:
        some = tuple(random.random() < 0.5 for _ in range(world.shape.rows))
        return cls(seed_of(random), rows=some if random.random() < 0.8 else None)

    def do(self, run: Run) -> None:
        run.reset(self.rows)
        run.count()


@dataclass(frozen=True, repr=False)
class Select(Step):
    """Rows take over what others held: permuted, copied, left."""

    rows: tuple[int, ...] = ()

    @classmethod
    def draw(cls, random: Random, world: World) -> Self:
        rows = range(world.shape.rows)
        chosen = random.sample(rows, len(rows)) if random.random() < 0.4 else random.choices(rows, k=len(rows))
        return cls(seed_of(random), rows=tuple(chosen))

    def do(self, run: Run) -> None:
        run.select(self.rows)
        run.count()


@dataclass(frozen=True, repr=False)
class Look(Step):
    """All that is stored is compared."""

    @classmethod
    def draw(cls, random: Random, world: World) -> Self:
        return cls(seed_of(random))

    def do(self, run: Run) -> None:
        run.count()
        run.look()


def drawn(run: Run, random: torch.Generator, n: int, dim: int, kind: Kind, dtype: str) -> Tensor:
    """Draw n entries' keys or values for each memory, exact in this dtype and in the store's."""
    return vectors(random, (run.shape.rows, run.shape.heads, n, dim), kind, (dtype, run.world.dtype))


def asked(run: Run, random: torch.Generator, q: int, group: int, kind: Kind, dtype: str = "float32") -> Tensor:
    """Draw q queries for each query head, exact in this dtype."""
    shape = run.shape
    return vectors(random, (shape.rows, shape.heads * group, q, shape.key_dim), kind, (dtype,))


def seed_of(random: Random) -> int:
    """Draw the seed of a step."""
    return random.randrange(1 << 31)


def drawn_n(random: Random, capacity: int) -> int:
    """Draw how many entries are added: none, few, some, the capacity, or more."""
    few, some = random.randint(1, min(8, capacity)), random.randint(1, capacity)
    return random.choice((0, 1, 1, few, few, few, some, some, capacity, capacity + 1, 2 * capacity + few))


def drawn_k(random: Random, capacity: int) -> int:
    """Draw how many neighbours are asked for: one, few, some, the capacity, or more."""
    few, some = random.randint(2, 8), random.randint(1, capacity)
    return random.choice((1, few, few, few, some, capacity, capacity + 3))
