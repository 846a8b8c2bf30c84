"""Changes drawn at random, for what happens beside them: what is called, and what may be held after it."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import NamedTuple

import torch

from memstack.testing.oracle import Oracle
from memstack.testing.thorough.pairs import after, copied
from memstack.testing.thorough.run import Run
from memstack.testing.thorough.steps import asked, drawn, drawn_n, seed_of
from memstack.testing.thorough.vectors import generator


class Change(NamedTuple):
    """A verb of a memory, called with something."""

    verb: str
    call: Callable[[], object]
    then: Oracle
    """What should be held after it."""


def drawn_change(run: Run, random: Random) -> Change:
    """Draw a change, an add mostly."""
    verb = random.choices(("add", "reset", "select", "load"), (12, 1, 1, 1))[0]
    numbers, shape, memory = generator(seed_of(random)), run.shape, run.memory
    if verb == "add":
        n = max(1, drawn_n(random, shape.capacity))
        keys, values = (drawn(run, numbers, n, dim, "usual", "float32") for dim in (shape.key_dim, shape.value_dim))
        return Change(verb, partial(memory.add, keys, values), after(run, lambda oracle: oracle.add(keys, values)))
    if verb == "reset":
        return Change(verb, memory.reset, after(run, lambda oracle: oracle.reset([True] * shape.rows)))
    if verb == "select":
        rows = random.choices(range(shape.rows), k=shape.rows)
        chosen = torch.tensor(rows, dtype=torch.int64, device="cpu")
        return Change(verb, partial(memory.select, chosen), after(run, lambda oracle: oracle.select(rows)))
    return Change(verb, partial(memory.load_state_dict, memory.state_dict()), copied(run.oracle))


def do_change(run: Run, random: Random) -> None:
    """Do a drawn change to memory and oracle."""
    change = drawn_change(run, random)
    change.call()
    run.oracle = change.then


def ask_once(run: Run, random: Random, k: int = 4) -> None:
    """Ask one query of each head by both doors and compare."""
    run.ask(asked(run, generator(seed_of(random)), 1, 1, "usual"), k)
