"""More steps: a state saved and loaded, here and elsewhere, and a deep copy that is gone on with."""

import copy
from dataclasses import dataclass
from random import Random
from typing import Literal, Self, get_args

import torch

from memstack.contract.errors import MemstackError
from memstack.contract.state import select_rows
from memstack.testing.assertions import ensure_same_state
from memstack.testing.thorough.run import Run, World
from memstack.testing.thorough.steps import Step, drawn, seed_of
from memstack.testing.thorough.vectors import generator

Where = Literal["itself", "fresh", "elsewhere", "rows"]


@dataclass(frozen=True, repr=False)
class Move(Step):
    """What is stored is saved and loaded: by itself, a fresh one, one of another kind and back, or by rows."""

    to: Where = "itself"

    @classmethod
    def draw(cls, random: Random, world: World) -> Self:
        return cls(seed_of(random), to=random.choice(get_args(Where)))

    def do(self, run: Run) -> None:
        state = run.memory.state_dict()
        ensure_same_state("the state", state, run.oracle.state_dict())
        if self.to == "elsewhere":
            other = run.elsewhere()
            other.load_state_dict(state)
            state = other.state_dict()
            ensure_same_state("the state that another kind of memory saves", state, run.oracle.state_dict())
        if self.to == "rows":
            rows = torch.randint(
                run.shape.rows, (run.shape.rows,), generator=generator(self.seed), dtype=torch.int64, device="cpu"
            )
            state = select_rows(state, rows)
            run.oracle.select(rows.tolist())
        if self.to in ("fresh", "elsewhere"):
            run.memory = run.fresh()
        run.memory.load_state_dict(state)
        run.count()


@dataclass(frozen=True, repr=False)
class Copy(Step):
    """A deep copy is gone on with, while what it was copied from gets other entries and forgets.

    A memory may refuse to be copied, in memstack's own words.
    """

    @classmethod
    def draw(cls, random: Random, world: World) -> Self:
        return cls(seed_of(random))

    def do(self, run: Run) -> None:
        try:
            copied = copy.deepcopy(run.memory)
        except MemstackError:
            return
        random, left, n = generator(self.seed), run.memory, run.shape.capacity // 2 + 1
        run.memory = copied
        left.add(*(drawn(run, random, n, dim, "usual", "float32") for dim in (run.shape.key_dim, run.shape.value_dim)))
        run.count()
        run.look()
        left.reset()
        run.count()
