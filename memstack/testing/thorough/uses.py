"""More steps: what may be done with an answer - columns taken, gradients, and its going stale."""

from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from memstack.contract.result import SearchResult
from memstack.testing.assertions import ensure_identical
from memstack.testing.gradients import ensure_stale, ensure_stale_backward
from memstack.testing.thorough.compare import ensure_near
from memstack.testing.thorough.run import Run, World
from memstack.testing.thorough.steps import Step, asked, drawn, drawn_k, seed_of
from memstack.testing.thorough.vectors import generator

Change = Literal["add", "reset", "select", "load"]


@dataclass(frozen=True, repr=False)
class Question(Step):
    """A question by one of the two doors, for what is then done with its answer."""

    k: int
    q: int = 1
    group: int = 1
    door: int = 0

    @classmethod
    def draw(cls, random: Random, world: World) -> Self:
        group, q = random.choice((1, 1, 2)), random.randint(1, 2)
        return cls(
            seed_of(random), k=drawn_k(random, world.shape.capacity), q=q, group=group, door=random.randint(0, 1)
        )

    def asked(self, run: Run) -> tuple[torch.Generator, Tensor, SearchResult]:
        """The generator of all that follows, the queries, and the answer."""
        random = generator(self.seed)
        queries = asked(run, random, self.q, self.group, "usual").requires_grad_()
        return random, queries, run.doors[self.door](queries, self.k)


@dataclass(frozen=True, repr=False)
class Take(Question):
    """Some columns are taken, in any order: scores, positions, keys, values, dot and mix are theirs."""

    def do(self, run: Run) -> None:
        random, queries, found = self.asked(run)
        taken = int(torch.randint(1, self.k + 1, (), generator=random, dtype=torch.int64, device="cpu"))
        columns = torch.rand(found.scores.shape, generator=random, dtype=torch.float32, device="cpu").argsort(-1)[
            ..., :taken
        ]
        some = found.take(columns)
        for name in ("scores", "positions", "mask"):
            ensure_identical(f"{name} taken", getattr(some, name), getattr(found, name).gather(-1, columns))
        for name in ("keys", "values"):
            whole: Tensor = getattr(found, name)
            places = columns[..., None].expand(*columns.shape, whole.shape[-1])
            ensure_identical(f"{name} taken", getattr(some, name), whole.gather(3, places))
        ensure_dot(some, queries, random)
        ensure_mix(some, random)


@dataclass(frozen=True, repr=False)
class Gradients(Question):
    """dot and mix, and their gradients, beside plain sums over the found keys and values."""

    def do(self, run: Run) -> None:
        random, queries, found = self.asked(run)
        ensure_dot(found, queries, random)
        ensure_dot(found, asked(run, random, self.q, self.group, "usual").requires_grad_(), random)
        ensure_mix(found, random)


@dataclass(frozen=True, repr=False)
class Stale(Question):
    """The memory changes, and from then on the answer refuses to be read, in a backward pass too."""

    change: Change = "add"

    @classmethod
    def draw(cls, random: Random, world: World) -> Self:
        plain = Question.draw.__func__(cls, random, world)  # type: ignore[attr-defined]
        return cls(plain.seed, plain.k, plain.q, plain.group, plain.door, random.choice(get_args(Change)))

    def do(self, run: Run) -> None:
        random, queries, found = self.asked(run)
        ensure_stale_backward(f"after {self.change}", found, queries, partial(change, run, self.change, random))
        ensure_stale(f"after {self.change}", found, queries)
        run.count()


def change(run: Run, verb: Change, random: torch.Generator) -> None:
    """Change memory and oracle by one of the verbs."""
    shape = run.shape
    if verb == "add":
        run.give(
            drawn(run, random, 2, shape.key_dim, "usual", "float32"),
            drawn(run, random, 2, shape.value_dim, "usual", "float32"),
        )
    elif verb == "reset":
        run.reset((True,) + (False,) * (shape.rows - 1))
    elif verb == "select":
        run.select(torch.randint(shape.rows, (shape.rows,), generator=random, dtype=torch.int64, device="cpu").tolist())
    else:
        run.memory.load_state_dict(run.memory.state_dict())


def ensure_dot(found: SearchResult, queries: Tensor, random: torch.Generator) -> None:
    """Raise AssertionError unless dot and its gradient are those of plain sums over the found keys."""
    keys, live = found.keys.double(), found.mask.double()
    upstream = _numbers(random, found.scores)
    scores = found.dot(queries)
    true = torch.einsum("rhqkd,rhqd->rhqk", keys, queries.detach().double())
    magnitude = torch.einsum("rhqkd,rhqd->rhqk", keys.abs(), queries.detach().double().abs())
    ensure_near("dot", scores.masked_fill(~found.mask, 0), true, magnitude)
    (grad,) = torch.autograd.grad((scores.masked_fill(~found.mask, 0) * upstream).sum(), queries)
    weights = upstream.double() * live
    expected, terms = (
        torch.einsum("rhqk,rhqkd->rhqd", w, k) for w, k in ((weights, keys), (weights.abs(), keys.abs()))
    )
    ensure_near("the gradient of dot", grad, expected, terms)


def ensure_mix(found: SearchResult, random: torch.Generator) -> None:
    """Raise AssertionError unless mix and its gradient are those of plain sums over the found values."""
    values = found.values.double()
    weights = _numbers(random, found.scores).requires_grad_()
    wide, mixed = weights.detach().double(), found.mix(weights)
    expected, terms = (torch.einsum("rhqk,rhqkd->rhqd", w, v) for w, v in ((wide, values), (wide.abs(), values.abs())))
    ensure_near("mix", mixed, expected, terms)
    upstream = _numbers(random, mixed)
    (grad,) = torch.autograd.grad((mixed.nan_to_num(0, 0, 0) * upstream).sum(), weights)
    finite = upstream.double() * mixed.detach().isfinite()
    expected, terms = (
        torch.einsum("rhqd,rhqkd->rhqk", u, v) for u, v in ((finite, values), (finite.abs(), values.abs()))
    )
    ensure_near("the gradient of mix", grad, expected, terms)


def _numbers(random: torch.Generator, like: Tensor) -> Tensor:
    """Sixteenths from -4 to 4, none of them zero: what is not finite is to show."""
    drawn = torch.randint(-64, 64, like.shape, generator=random, dtype=torch.int64, device="cpu")
    return torch.where(drawn < 0, drawn, drawn + 1).to(torch.float32) / 16
