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


FAR = 32768
"""Entries of a memory from which ``auto`` takes the kernels on a GPU. On an H100, 65,536 of width 128 are searched in a
fifth of the time of the float32 product; at 8,192 a training step is no faster for it."""


def choose_first_pass(name: FirstPassName, shape: MemoryShape, store: StoreOptions) -> FirstPass | None:
    """Return the first pass of that name for memories kept in such a store; None to do without one.

    ``auto`` is 8 bits on a CPU that can, bfloat16 for large memories on a GPU that can and proved right, and otherwise
    none; the reason is logged. Raises BackendUnavailableError if a pass was asked for by its name and cannot be had.
    """
    return _made(name, shape, store) if _wanted(name, shape, store) else None


def first_pass_bytes(name: FirstPassName, shape: MemoryShape, store: StoreOptions) -> int:
    """Return what the first pass of that name would keep, which is not made; 0 without one."""
    if not _wanted(name, shape, store):
        return 0
    one = _made(name, replace(shape, rows=1, heads=1, capacity=1), store)
    return 0 if one is None else one.bytes_of(shape)


def _wanted(name: FirstPassName, shape: MemoryShape, store: StoreOptions) -> bool:
    """Whether there is one to be had for such a store, by its name."""
    if name != "auto":
        return name != "none"
    device = torch.device(store.device).type
    return device == "cpu" or (device == "cuda" and shape.capacity >= FAR and store.dtype != "int8")


def _made(name: FirstPassName, shape: MemoryShape, store: StoreOptions) -> FirstPass | None:
    try:
        on_cpu = torch.device(store.device).type == "cpu"
        return _cpu_pass(name, shape, store) if on_cpu else _gpu_pass(name, shape, store)
    except BackendUnavailableError as error:
        if name != "auto":
            raise
        # A cause is what can be mended; what processor this is cannot.
        _log_once(logging.INFO if error.__cause__ is None else logging.WARNING, str(error))
        return None


def _cpu_pass(name: FirstPassName, shape: MemoryShape, store: StoreOptions) -> FirstPass:
    if name == "bfloat16":
        raise BackendUnavailableError("first_pass = 'bfloat16' is for a store on a GPU: on a CPU it is 'int8'")
    from memstack_exact.cpu.first_pass import CpuFirstPass  # compiles

    return CpuFirstPass(shape, store)


def _gpu_pass(name: FirstPassName, shape: MemoryShape, store: StoreOptions) -> FirstPass:
    from memstack_exact.gpu.first_pass import GpuFirstPass, why_wrong

    device, precision = torch.device(store.device), "int8" if name == "int8" else "bfloat16"
    made = GpuFirstPass(shape, device, precision, getattr(torch, store.dtype))
    if name == "auto" and (reason := why_wrong(device, precision, shape.key_dim)):
        raise BackendUnavailableError(f"its kernels fail on {device}: {reason}") from RuntimeError(reason)
    return made


@cache
def _log_once(level: int, reason: str) -> None:
    logging.getLogger(__name__).log(level, "exact search does without its first pass: %s", reason)
