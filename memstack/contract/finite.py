"""What is largest in tensors, many at once, so that their device is waited for once: nothing infinite is stored."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_INSPECTED = WeakTensorKeyDictionary()
"""By tensor, its version when it was inspected and its largest magnitude then."""


def inspect_keys(keys: Sequence[Tensor]) -> None:
    """Look at tensors together, keys or values, before each is given to a memory's ``add``.

    That refuses NaN and inf as ever, but of a tensor that was found finite here, and has not changed since, it need not
    ask the device again. Shapes, dtypes and devices are free; each device is waited for once. Refuses nothing itself. A
    write that torch does not count, through ``.data`` or a numpy view, is not seen.
    """
    inspected = [tensor for tensor in keys if tensor.is_floating_point() and not tensor.is_inference()]
    for tensor, magnitude in zip(inspected, largest_magnitudes(inspected), strict=True):
        _INSPECTED[tensor] = tensor._version, magnitude


def are_storable(tensors: Sequence[Tensor], dtype: torch.dtype) -> bool:
    """Return whether all numbers are finite in a store of this dtype; asks the device for what nobody has inspected."""
    limit = largest_number(dtype)
    known = [_known(tensor) for tensor in tensors]
    unknown = [tensor for tensor, magnitude in zip(tensors, known, strict=True) if magnitude is None]
    found = [magnitude for magnitude in known if magnitude is not None] + largest_magnitudes(unknown)
    return all(magnitude <= limit for magnitude in found)  # which NaN is not


def largest_number(dtype: torch.dtype) -> float:
    """Return the largest number that a store of this dtype reads back as finite."""
    if dtype.is_floating_point:
        return torch.finfo(dtype).max
    # Eight bits: 127 times a scale in bfloat16, which rounding makes larger by a part in 256 at most.
    return torch.finfo(torch.float32).max * (1 - 2**-7)


def largest_magnitudes(tensors: Sequence[Tensor]) -> list[float]:
    """Return each tensor's largest magnitude, NaN if one of its numbers is; each device is waited for once."""
    found = [0.0] * len(tensors)
    for device in {tensor.device for tensor in tensors}:
        here = [place for place, tensor in enumerate(tensors) if tensor.device == device and tensor.numel()]
        if here:
            for place, magnitude in zip(here, _largest([tensors[place] for place in here]).tolist(), strict=True):
                found[place] = magnitude
    return found


def _largest(tensors: Sequence[Tensor]) -> Tensor:
    ends = [torch.aminmax(tensor.detach()) for tensor in tensors]
    return torch.stack([torch.maximum(end.max, -end.min).to(torch.float32) for end in ends])


def _known(tensor: Tensor) -> float | None:
    """The largest magnitude of a tensor that was inspected and has not changed since."""
    inspected = None if tensor.is_inference() else _INSPECTED.get(tensor)
    return inspected[1] if inspected is not None and inspected[0] == tensor._version else None
