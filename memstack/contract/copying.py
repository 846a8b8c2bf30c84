"""Copies that share nothing with what they were made of, however they are asked for, or a refusal in one line."""

import copy
import io
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor

from memstack.contract.errors import CopyError, MemstackError, in_one_line

BY_VALUE = 4
"""From this protocol on tensors go as their numbers: a spawned process is sent its arguments by such a one, and torch
would have it share their storage. ``torch.save``, whose protocol is lower, writes numbers in any case."""


class Copied:
    """Base of what is copied whole by ``copy``, ``deepcopy``, ``pickle``, ``torch.save`` and for a spawned process.

    A copy is made of what ``__getstate__`` gives and put together by ``__setstate__``, as Python's own are; its tensors
    are its own and can be written to, whatever mode it is made in. CopyError where an attribute cannot be copied.
    """

    __slots__ = ()

    def __copy__(self) -> Self:
        """Return a deep copy: two that share a part would write over each other."""
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        with torch.inference_mode(False):
            state = _each(self.__getstate__(), partial(_deep, self, memo))
            _restore(made, state)
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        if type(self).__reduce__ is not object.__reduce__:
            return self.__reduce__()
        _check_importable(type(self))
        state: Any = self.__getstate__()
        _each(state, partial(_try, self))
        if protocol >= BY_VALUE:
            state = _each(state, _by_value)
        return _new, (type(self),), state, None, None, _restore

    def __setstate__(self, state: Any) -> None:
        attributes, slots = cast("tuple[Any, Any]", state if isinstance(state, tuple) else (state, None))
        vars(self).update(attributes or {})
        for name, value in (slots or {}).items():
            setattr(self, name, value)


def by_value(value: Any) -> Any:
    """Return what stands for a value when it is pickled, so that its tensors' numbers are sent and not where they lie.

    Tensors, which are put on their device again, and what lists, tuples and dictionaries hold of them; all else is
    given back.
    """
    if type(value) is Tensor and not value.requires_grad:
        return _Numbers(value)
    if type(value) in (list, tuple):
        return type(value)(map(by_value, value))
    return {name: by_value(part) for name, part in value.items()} if type(value) is dict else value


class _Numbers:
    """Pickles as the numbers of a tensor; what is unpickled is a tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __reduce__(self) -> Any:
        numbers = self.tensor.contiguous().reshape(-1).view(torch.uint8).cpu().numpy()
        return _tensor, (numbers, self.tensor.dtype, tuple(self.tensor.shape), str(self.tensor.device))


def _tensor(numbers: "np.ndarray[Any, Any]", dtype: torch.dtype, shape: tuple[int, ...], device: str = "cpu") -> Tensor:
    with torch.inference_mode(False):
        return torch.from_numpy(numbers).to(device).view(dtype).view(shape)


def _restore(made: Copied, state: Any) -> None:
    """Give an object its state; what was unpickled under inference_mode is made writable."""
    with torch.inference_mode(False):
        made.__setstate__(_each(state, _writable))


def _new(kind: type[Copied]) -> Copied:
    """Make an object of a class that is yet to be given its state."""
    return kind.__new__(kind)


def _by_value(_: str, value: Any) -> Any:
    return by_value(value)


def _writable(_: str, value: Any) -> Any:
    """Return a tensor that was made under inference_mode as one that can be written outside of it; else the value."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def _each(state: Any, change: Callable[[str, Any], Any]) -> Any:
    """Change every attribute of a state, which is a dictionary, a pair of them where there are slots, or anything."""
    if isinstance(state, dict):
        return {name: change(name, value) for name, value in cast("dict[str, Any]", state).items()}
    if isinstance(state, tuple):
        return tuple(_each(part, change) for part in cast("tuple[Any, ...]", state))
    return change("state", state) if state is not None else None


def _deep(owner: Copied, memo: dict[int, Any], name: str, value: Any) -> Any:
    try:
        return copy.deepcopy(value, memo)
    except MemstackError:
        raise
    except Exception as error:
        raise _refusal(owner, name, error) from error


def _try(owner: Copied, name: str, value: Any) -> Any:
    """Raise CopyError if an attribute cannot be pickled; its numbers are passed over, and so are other copied ones."""
    try:
        _Trial(io.BytesIO(), BY_VALUE).dump(value)
    except MemstackError:
        raise
    except Exception as error:
        raise _refusal(owner, name, error) from error
    return value


class _Trial(ForkingPickler):
    def reducer_override(self, thing: Any) -> Any:
        return (int, ()) if isinstance(thing, Tensor | np.ndarray | Copied | _Numbers) else NotImplemented


def _refusal(owner: Copied, name: str, error: Exception) -> CopyError:
    return CopyError(
        f"{type(owner).__name__} cannot be copied, for its attribute {name!r} cannot ({in_one_line(error)}): leave it "
        "out in __getstate__ and make it anew in __setstate__, or load this memory's state_dict() into a new one"
    )


def _check_importable(kind: type) -> None:
    """Pickle finds a class by its name."""
    found: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is not kind:
        raise CopyError(
            f"{kind.__qualname__} of {kind.__module__} cannot be found by its name, by which it is pickled: define it "
            "at the top of a module, or load this memory's state_dict() into a new one"
        )
