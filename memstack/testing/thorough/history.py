"""Histories: random steps done to a random memory; from seed and number alone, the same ones again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, NamedTuple

from memstack.contract.errors import MemstackError
from memstack.contract.memory import Memory
from memstack.contract.shape import MemoryShape
from memstack.plugins.secrets import without_secrets
from memstack.testing.thorough.moves import Copy, Move
from memstack.testing.thorough.refusals import Refused
from memstack.testing.thorough.report import said
from memstack.testing.thorough.run import Run, World
from memstack.testing.thorough.steps import Add, Look, Reset, Search, SearchExactly, Select, Step
from memstack.testing.thorough.subject import Subject
from memstack.testing.thorough.uses import Gradients, Stale, Take

WEIGHTS: Mapping[type[Step], int] = {
    Add: 28,
    Search: 26,
    SearchExactly: 5,
    Take: 4,
    Gradients: 4,
    Stale: 4,
    Reset: 6,
    Select: 6,
    Move: 5,
    Copy: 4,
    Refused: 5,
    Look: 3,
}
"""How often each kind of step comes."""
LENGTHS = (10, 30, 60, 60, 60, 100, 600)
"""The most steps of a history, of some more: what is wrong after long use alone is to show as well."""
LEFT_OUT = 0.3
"""Of the kinds of steps, in each history others: what one would undo, such as a move, is then not undone."""
WORLDS, HISTORIES_PER_WORLD = 8, 100
"""How many memories a check begins with, and how many histories bring another: some libraries compile for each."""
NUMBERS = 30_000
"""That the keys or the values of a memory may have, so that plain lists keep up."""


@dataclass(frozen=True)
class History:
    """Steps, and the memory that they happen to."""

    world: World
    steps: tuple[Step, ...]


class Failure(NamedTuple):
    """At which step memory and oracle differ, and how."""

    step: int
    what: str


def drawn_history(subject: Subject, seed: int, number: int) -> History:
    """Draw the history of this number."""
    random = Random(f"history {seed} {number}")
    world = drawn_world(subject, seed, random.randrange(WORLDS + number // HISTORIES_PER_WORLD))
    weights = {kind: weight for kind, weight in WEIGHTS.items() if kind in (Add, Search) or random.random() > LEFT_OUT}
    kinds = random.choices(tuple(weights), tuple(weights.values()), k=random.randint(4, random.choice(LENGTHS)))
    return History(world, tuple(kind.draw(random, world) for kind in kinds))


def drawn_world(subject: Subject, seed: int, number: int) -> World:
    """Draw the memory of this number: every fourth has the defaults, every fourth the spec's ``test_options``."""
    random = Random(f"world {seed} {number}")
    return World(drawn_shape(random), subject.options(number, random))


class RefusedError(Exception):
    """The memory that was drawn cannot be made: its options do not fit, says memstack in a line of its own."""


def drawn_run(subject: Subject, seed: int, number: int) -> Run:
    """Make the memory of this number; RefusedError if memstack refuses it."""
    return _made(subject, drawn_world(subject, seed, number))


def _made(subject: Subject, world: World) -> Run:
    try:
        return Run(subject, world)
    except MemstackError as error:
        raise RefusedError from error


def drawn_shape(random: Random) -> MemoryShape:
    """Draw a shape: small ones mostly."""
    while True:
        sizes = ((1, 4), (5, 24), (5, 24), (25, 64), (65, 300))
        key_dim, value_dim = (random.randint(1, random.choice((4, 10, 40))) for _ in range(2))
        shape = MemoryShape(
            rows=random.randint(1, 4),
            heads=random.randint(1, 3),
            key_dim=key_dim,
            value_dim=value_dim,
            capacity=random.randint(*random.choice(sizes)),
        )
        if shape.rows * shape.heads * shape.capacity * max(key_dim, value_dim) <= NUMBERS:
            return shape


def failure(subject: Subject, history: History, note: Callable[[int], None] = lambda _: None) -> Failure | None:
    """Do a history; return how it failed, or None. ``note`` is told the number of each step before it is done."""
    run = _made(subject, history.world)
    for number, step in enumerate(history.steps):
        note(number)
        try:
            step.do(run)
        except Exception as error:  # noqa: BLE001 - a stranger's memory may fail in any way
            return Failure(number, said(error))
    return None


def replay(
    backend: str | Callable[[MemoryShape], Memory],
    options: Mapping[str, Any],
    shape: MemoryShape,
    steps: Sequence[Step],
) -> None:
    """Do these steps to a new memory and to the oracle; AssertionError, or its own error, where they differ."""
    run = Run(Subject(backend), World(shape, dict(options)))
    for step in steps:
        step.do(run)


def shortened(history: History, fails: Callable[[History], Failure | None], tries: Callable[[], bool]) -> History:
    """Leave out what the failure does not need: ever smaller pieces of the steps, for as long as ``tries`` says."""
    size = max(1, len(history.steps) // 2)
    while size and tries():
        fewer = _without_pieces(history, size, fails, tries)
        size = size // 2 if fewer == history or size > 1 else 1
        history = fewer
    return history


def _without_pieces(
    history: History, size: int, fails: Callable[[History], Failure | None], tries: Callable[[], bool]
) -> History:
    at = 0
    while at < len(history.steps) and tries():
        fewer = replace(history, steps=history.steps[:at] + history.steps[at + size :])
        failed = fails(fewer) if fewer.steps else None
        if failed is None:
            at += size
        else:
            history = replace(fewer, steps=fewer.steps[: failed.step + 1])
    return history


def as_python(subject: Subject, history: History) -> str:
    """Return Python that does the history again."""
    kinds: dict[str, set[str]] = {}
    for step in history.steps:
        kinds.setdefault(type(step).__module__, set()).add(type(step).__name__)
    imports = [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(kinds.items())]
    steps = "".join(f"        {step!r},\n" for step in history.steps)
    options = without_secrets(history.world.options)
    call = f"replay(\n    {subject.as_python},\n    {options!r},\n    {history.world.shape!r},\n    [\n{steps}    ],\n)"
    first = [*subject.imports, "from memstack import MemoryShape", "from memstack.testing.thorough import replay"]
    return "\n".join([*first, *imports, "", call])
