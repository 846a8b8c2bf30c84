"""Changes drawn at random, for what happens beside them: what is called, and what may be held after it."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import NamedTuple

import torch

from memstack.testing.interrupts import held
from memstack.testing.oracle import Oracle
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
        return Change(verb, partial(memory.add, keys, values), _after(run, lambda oracle: oracle.add(keys, values)))
    if verb == "reset":
        return Change(verb, memory.reset, _after(run, lambda oracle: oracle.reset([True] * shape.rows)))
    if verb == "select":
        rows = random.choices(range(shape.rows), k=shape.rows)
        chosen = torch.tensor(rows, dtype=torch.int64, device="cpu")
        return Change(verb, partial(memory.select, chosen), _after(run, lambda oracle: oracle.select(rows)))
    return Change(verb, partial(memory.load_state_dict, memory.state_dict()), run.oracle.copy())


def _after(run: Run, change: Callable[[Oracle], object]) -> Oracle:
    """What should be held once this has changed; the run's own oracle is left as it is."""
    changed = run.oracle.copy()
    change(changed)
    return changed


def settle(run: Run, then: Oracle) -> None:
    """Raise AssertionError unless a memory holds what it did or what it was to hold then; so then does the oracle."""
    run.oracle = held(run.memory, {"nothing": run.oracle, "all": then})


def do_change(run: Run, random: Random) -> None:
    """Do a drawn change to memory and oracle."""
    change = drawn_change(run, random)
    change.call()
    run.oracle = change.then


def ask_once(run: Run, random: Random, k: int = 4) -> None:
    """Ask one query of each head by both doors and compare."""
    run.ask(asked(run, generator(seed_of(random)), 1, 1, "usual"), k)
