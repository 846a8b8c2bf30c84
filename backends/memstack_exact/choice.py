"""The choice of a first pass: by the option's name, the store's device and dtype, and what the machine can run."""

import logging
from dataclasses import replace
from functools import cache
from typing import Literal

import torch

from memstack import BackendUnavailableError, MemoryShape
from memstack.store import StoreOptions
from memstack_exact.first_pass import FirstPass

FirstPassName = Literal["auto", "none", "int8", "bfloat16"]


def choose_first_pass(name: FirstPassName, shape: MemoryShape, store: StoreOptions) -> FirstPass | None:
    """Return the first pass of that name for memories kept in such a store; None to do without one.

    ``auto`` is 8 bits on a CPU that can, and otherwise none; the reason is logged. Raises BackendUnavailableError if a
    pass was asked for by its own name and cannot be had.
    """
    device = torch.device(store.device)
    if name == "none" or (name == "auto" and (device.type != "cpu" or store.dtype == "int8")):
        return None
    try:
        if device.type == "cpu":
            return _cpu_pass(name, shape, store)
        from memstack_exact.gpu.first_pass import GpuFirstPass

        return GpuFirstPass(shape, device, "bfloat16" if name == "bfloat16" else "int8", getattr(torch, store.dtype))
    except BackendUnavailableError as error:
        if name != "auto":
            raise
        # A cause is what can be mended; what processor this is cannot.
        _log_once(logging.INFO if error.__cause__ is None else logging.WARNING, str(error))
        return None


def first_pass_bytes(name: FirstPassName, shape: MemoryShape, store: StoreOptions) -> int | None:
    """Return what the first pass of that name would keep, which is not made; 0 without one, None for one on a GPU."""
    one = choose_first_pass(name, replace(shape, rows=1, heads=1, capacity=1), store)
    if one is None:
        return 0
    from memstack_exact.cpu.first_pass import CpuFirstPass

    return CpuFirstPass.bytes_of(shape) if isinstance(one, CpuFirstPass) else None


def _cpu_pass(name: FirstPassName, shape: MemoryShape, store: StoreOptions) -> FirstPass:
    if name == "bfloat16":
        raise BackendUnavailableError("first_pass = 'bfloat16' is for a store on a GPU: on a CPU it is 'int8'")
    from memstack_exact.cpu.first_pass import CpuFirstPass  # compiles

    return CpuFirstPass(shape, store)


@cache
def _log_once(level: int, reason: str) -> None:
    logging.getLogger(__name__).log(level, "exact search does without its 8-bit first pass: %s", reason)
