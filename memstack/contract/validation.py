"""Checks at the door: tensors against named axes, devices that can be used."""

import torch
from torch import Tensor

from memstack.contract.errors import ShapeError


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


def expect_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ShapeError unless the tensor has exactly this shape."""
    if tuple(tensor.shape) != shape:
        raise ShapeError(f"{name} should have the shape of the search, {shape}, got {tuple(tensor.shape)}")
