"""Checks at the door: tensors against named axes, pydantic's complaints as one line."""

import types
import typing
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from memstack.errors import ShapeError, did_you_mean


def expect(name: str, tensor: Tensor, **axes: int | None) -> None:
    """Raise ShapeError unless the tensor is floating point and has these axes; None lets an axis be of any size."""
    wanted = tuple(axes.values())
    fits = tensor.ndim == len(wanted) and all(
        size is None or size == got for size, got in zip(wanted, tensor.shape, strict=True)
    )
    if not fits:
        described = ", ".join(axis if size is None else f"{axis}={size}" for axis, size in axes.items())
        raise ShapeError(f"{name} should be ({described}), got {tuple(tensor.shape)}")
    if not tensor.is_floating_point():
        raise ShapeError(f"{name} should be floating point, got {tensor.dtype}; convert with .float()")


def usable_device(name: str) -> torch.device:
    """Return the device of that name; ValueError, in one line, if nothing can be put on it here."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device {name!r} cannot be used here: {reason}") from None


def first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """Return pydantic's first complaint as ``dotted.path: what is wrong``; for an unknown key, the nearest known."""
    problem = error.errors(include_url=False)[0]
    path = [str(part) for part in problem["loc"]]
    if problem["type"] != "extra_forbidden":
        reason = problem["msg"].removeprefix("Value error, ")
        came = "" if problem["type"] in ("missing", "value_error") else f", got {problem['input']!r}"
        return f"{'.'.join(path)}: {reason}{came}" if path else f"{reason}{came}"
    known = list(_fields_at(model, path[:-1]))
    hint = did_you_mean(path[-1], known)
    return f"{'.'.join(path)} is not a known key{hint} (known: {', '.join(known)})"


def _fields_at(model: type[BaseModel], path: list[str]) -> dict[str, Any]:
    """Follow a dotted path through nested models; the fields there."""
    for name in path:
        if name in model.model_fields:
            model = _inner_model(model.model_fields[name].annotation) or model
    return dict(model.model_fields)


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return next(filter(None, map(_inner_model, typing.get_args(annotation))), None)
    return None
