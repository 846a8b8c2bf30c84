"""Where a store's numbers lie and in which form: on a device, page-locked, or in files of a disk."""

import mmap
import os
import shutil
from errno import EINVAL, ENOSPC, ENOSYS, EOPNOTSUPP
from math import prod
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Literal

import torch
from pydantic import DirectoryPath, field_validator, model_validator

from memstack.contract.errors import ShapeError
from memstack.contract.shape import MemoryShape
from memstack.contract.validation import usable_device
from memstack.plugins.placement import PLACEMENT
from memstack.plugins.room import store_bytes
from memstack.plugins.specs import BackendOptions
from memstack.store.int8 import Quantised, Vectors


class StoreOptions(BackendOptions):
    """How keys and values are kept."""

    device: Annotated[str, PLACEMENT] = "cpu"
    """Where the store lives, as torch names devices. It is searched and summed there: between it and a model on another
    device go only new entries, queries, weights and answers, which a GPU takes from a CPU without waiting."""
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = "float32"
    """How keys and values are stored: in float32 an entry takes 4 (key_dim + value_dim) bytes, in float16 and bfloat16
    2 (key_dim + value_dim), in int8 key_dim + value_dim + 4: a byte per number and two per vector, for its scale.
    Scores are always float32, and those of the keys as they are stored."""
    pinned: Annotated[bool, PLACEMENT] = False
    """Keep a store on the CPU in page-locked memory, for a GPU to read. (Never run on a GPU yet.)"""
    folder: Annotated[DirectoryPath | None, PLACEMENT] = None
    """Keep a store on the CPU in files of this folder, as many bytes as it takes in memory: for more entries than
    memory holds. The files have no names, each memory has its own, and they are gone when it is, or its process.
    What an index holds beside the store, and a saved state, are in memory all the same."""

    @field_validator("device")
    @classmethod
    def _usable(cls, device: str) -> str:
        usable_device(device)
        return device

    @model_validator(mode="after")
    def _placeable(self) -> "StoreOptions":
        given = [name for name in ("pinned", "folder") if getattr(self, name)]
        if given and torch.device(self.device).type != "cpu":
            raise ValueError(f"{given[0]} is for a store on the CPU, not on {self.device}: set device to 'cpu'")
        if len(given) == 2:
            raise ValueError("a store is pinned or in a folder, not both: leave one of them out")
        if self.pinned and not torch.cuda.is_available():
            raise ValueError("pinned memory is for a GPU to read, and CUDA is not available here: leave it out")
        return self


def new_vectors(shape: MemoryShape, dim: int, options: StoreOptions) -> Vectors:
    """Return zeros, a vector for every slot of every memory, and one more.

    ShapeError, saying how much is needed, where there is not enough room.
    """
    entries = shape.rows * shape.heads * shape.capacity + 1
    dtype: torch.dtype = getattr(torch, options.dtype)
    try:
        numbers = new_zeros((entries, dim), dtype, options)
        return (
            numbers if dtype.is_floating_point else Quantised(numbers, new_zeros((entries, 1), torch.bfloat16, options))
        )
    except (RuntimeError, OSError) as error:
        gigabytes = store_bytes(shape, options.dtype) / 1e9
        reason = error.strerror if isinstance(error, OSError) else "more than there is"
        raise ShapeError(
            f"a memory of {shape} needs {gigabytes:,.1f} GB on {options.folder or options.device} ({reason}): "
            "lower capacity or rows, store in a dtype of fewer bits, or elsewhere"
        ) from error


def new_zeros(size: tuple[int, ...], dtype: torch.dtype, options: StoreOptions) -> torch.Tensor:
    """Return zeros that lie where the options say; OSError or RuntimeError where there is not enough room.

    Whatever the process has set: what is made under inference_mode could not be written to outside of it.
    """
    with torch.inference_mode(False):
        if options.folder is None:
            return torch.zeros(size, dtype=dtype, device=options.device, pin_memory=options.pinned)
        return torch.frombuffer(_file(prod(size) * dtype.itemsize, options.folder), dtype=dtype).view(size)


def _file(size: int, folder: Path) -> mmap.mmap:
    """A file of zeros, mapped. The map holds the last reference to it: with the tensor on it, the file goes."""
    with TemporaryFile(dir=folder) as file:
        free = shutil.disk_usage(folder).free
        if size > free:
            raise OSError(ENOSPC, f"{free / 1e9:,.1f} GB are free")
        file.truncate(size)
        _reserve(file.fileno(), size)
        return mmap.mmap(file.fileno(), size)


def _reserve(file: int, size: int) -> None:
    """Take the room now, where the system knows how: a disk that is full at a later write would end the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (EINVAL, ENOSYS, EOPNOTSUPP):
            raise
