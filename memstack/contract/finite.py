"""inspect_keys(): what is largest in many tensors at once, so that their device is waited for once, not per memory."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_INSPECTED = WeakTensorKeyDictionary()
"""By tensor, its version when it was inspected and its largest magnitude then."""


def inspect_keys(keys: Sequence[Tensor]) -> None:
    """Look at tensors together before each is given to a memory's ``add``.

    That refuses NaN and inf as ever, but of a tensor that was found finite here, and has not changed since, it need not
    ask the device again. Shapes, dtypes and devices are free; each device is waited for once. Refuses nothing itself. A
    write that torch does not count, through ``.data`` or a numpy view, is not seen.
    """
    inspected = [
        tensor for tensor in keys if tensor.is_floating_point() and tensor.numel() and not tensor.is_inference()
    ]
    for device in {tensor.device for tensor in inspected}:
        here = [tensor for tensor in inspected if tensor.device == device]
        largest = torch.stack([tensor.detach().abs().amax().float() for tensor in here])
        for tensor, magnitude in zip(here, largest.tolist(), strict=True):
            _INSPECTED[tensor] = tensor._version, magnitude


def known_finite(tensor: Tensor, dtype: torch.dtype) -> bool:
    """True if the tensor was inspected and is finite in this dtype; False where nobody knows."""
    inspected = None if tensor.is_inference() else _INSPECTED.get(tensor)
    return inspected is not None and inspected[0] == tensor._version and inspected[1] <= torch.finfo(dtype).max
