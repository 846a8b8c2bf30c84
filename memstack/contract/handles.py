"""Handles: numbers that stand for memories and answers where only tensors may pass, as in compiled code.

An operator takes and returns tensors, so what it is about travels as a number in one of them, and one table here leads
from the number to the object. Compiled code knows a memory by its class and never by its number, so that another memory
compiles nothing again.
"""

import weakref
from collections.abc import Callable
from itertools import count
from typing import Any, Self, cast

import torch
from jaxtyping import Int
from torch import Tensor

_OBJECTS: dict[int, Callable[[], Any]] = {}
"""Every object that has a handle, by its number."""
_NUMBERS = count()
_SLOT = "_Handled__handle"


class Handled:
    """Base of what compiled code knows by a handle.

    The handle is neither among the object's attributes nor under a name that a subclass could take by accident, and a
    copy has one of its own.
    """

    __slots__ = ("__handle", "__weakref__")
    __handle: Int[Tensor, ""]

    def __new__(cls, *_args: Any, **_options: Any) -> Self:
        made = super().__new__(cls)
        number = next(_NUMBERS)
        objects = _OBJECTS  # which an interpreter that ends has forgotten by this name
        objects[number] = weakref.ref(made, lambda _: objects.pop(number, None))
        # Made under inference_mode, it could not be used outside of it.
        with torch.inference_mode(False):
            handle = torch.tensor(number, device="cpu", dtype=torch.int64)
        # By no ``__setattr__`` of a subclass, which may refuse it, as a frozen dataclass's does, or pass it on.
        object.__setattr__(made, _SLOT, handle)
        return made

    def __getstate__(self) -> Any:
        """What a copy takes over: all but the handle."""
        state: Any = super().__getstate__()
        if not isinstance(state, tuple):
            return state  # of another base, which knows nothing of the handle
        # Where there are slots, the state is a pair: the attributes, and what the slots hold.
        attributes, slots = cast("tuple[dict[str, Any], dict[str, Any]]", state)
        others = {name: value for name, value in slots.items() if name != _SLOT}
        return (attributes, others) if others else attributes

    @staticmethod
    def handle_of(handled: "Handled") -> Int[Tensor, ""]:
        """Return the handle of an object, a tensor on the CPU."""
        return handled.__handle


def keep(thing: object) -> Int[Tensor, ""]:
    """Return a handle that keeps a thing for as long as there is a tensor on the handle's storage."""
    number = next(_NUMBERS)
    _OBJECTS[number] = lambda: thing
    handle = torch.tensor(number, device="cpu", dtype=torch.int64)
    weakref.finalize(handle.untyped_storage(), _OBJECTS.pop, number).atexit = False
    return handle


def resolve(handle: Int[Tensor, ""]) -> Any:
    """Return what a handle stands for."""
    return _OBJECTS[int(handle)]()
