"""In which precision, and on which device, scores and sums are computed."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> torch.dtype:
    """Half precision is widened, so that scores and sums are exact to float32 under autocast as well."""
    return torch.promote_types(tensor.dtype, torch.float32)


def without_autocast(operand: Tensor) -> AbstractContextManager[object]:
    """Turn autocast off on the operand's device: it would round scores and sums to half precision."""
    device = operand.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def sent(answer: Tensor, device: torch.device) -> Tensor:
    """Move an answer to where the question came from. From the CPU on, the GPU's own order does the waiting."""
    return answer.to(device, non_blocking=answer.device.type == "cpu")
