"""Handles: whatever a subclass does with its attributes and copies, it is known to compiled code by its own."""

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from helpers.list_memory import ListMemory

from memstack import Memory, MemoryShape, search

SHAPE = MemoryShape(rows=1, heads=1, key_dim=2, value_dim=2, capacity=4)


class Slotted(ListMemory):
    """Has a slot under a name like the handle's own."""

    __slots__ = ("its__handle",)

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__(shape)
        self.its__handle = 3


class Described:
    """Another base that says what a copy takes over, after Memory's."""

    def __getstate__(self) -> Any:
        return vars(self) | {"copied": True}


class Mixed(ListMemory, Described):
    """A memory with that base."""


class Guarded(ListMemory):
    """Takes no attribute but its own."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name.endswith("handle"):
            raise AttributeError(f"cannot set {name}")
        super().__setattr__(name, value)


@dataclass(frozen=True)
class Frozen(ListMemory):
    """A memory that is a value."""

    shape: MemoryShape

    def __post_init__(self) -> None:
        vars(self).update(vars(ListMemory(self.shape)))


@pytest.mark.parametrize("kind", [Slotted, Mixed, Guarded, Frozen])
def test_it_and_its_copy_are_known_by_themselves(kind: type[Memory]) -> None:
    memory = kind(SHAPE)  # type: ignore[call-arg]
    memory.add(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    twin = copy.deepcopy(memory)
    memory.reset()
    assert not search(memory, torch.ones(1, 1, 1, 2), 2).mask.any()
    assert search(twin, torch.ones(1, 1, 1, 2), 2).mask.all()


def test_a_copy_keeps_its_own_slots_and_what_other_bases_say() -> None:
    assert copy.deepcopy(Slotted(SHAPE)).its__handle == 3
    assert vars(copy.deepcopy(Mixed(SHAPE)))["copied"]
