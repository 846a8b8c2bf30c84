"""Checkpoints: one safetensors file, written aside and renamed, with a digest that finds a flipped bit. No pickle."""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from memstack_models.data.errors import CheckpointError

FILE = "checkpoint.safetensors"
FORMAT = 1
"""Of the files that are written. Those from before there was a number are format 0: they are read as well."""


def save(folder: Path, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
    """Write the checkpoint of a run folder; if that fails the previous one stays, and CheckpointError says why."""
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    described = json.dumps(dict(progress))
    metadata = {"format": str(FORMAT), "progress": described, "digest": _digest(FORMAT, plain, described)}
    aside = folder / f"{FILE}.writing"
    try:
        save_file(plain, aside, metadata)
        with aside.open("rb") as written:
            os.fsync(written.fileno())
        aside.chmod(0o644)  # safetensors makes files that only their owner can read
        aside.replace(folder / FILE)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise CheckpointError(
            f"could not write {folder / FILE} ({error}); the previous checkpoint is untouched: make room, then --resume"
        ) from error


def load(folder: Path, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors whose names begin with ``prefix`` and the progress; the whole file is checked first.

    Raises CheckpointError for a file that is missing, damaged, or of a format that is not known.
    """
    path = folder / FILE
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}; train one with: memstack train RECIPE --out {folder}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    except SafetensorError as error:
        raise CheckpointError(f"{path} is truncated or damaged ({error}); use another copy") from None
    described = metadata.get("progress", "")
    if metadata.get("digest") != _digest(_format_of(path, metadata), tensors, described):
        raise CheckpointError(f"{path} is damaged: its contents do not match their digest; use another copy")
    wanted = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return wanted, json.loads(described)


def _format_of(path: Path, metadata: Mapping[str, str]) -> int:
    number = metadata.get("format", "0")
    if number not in map(str, range(FORMAT + 1)):
        raise CheckpointError(
            f"{path} is of format {number}; this memstack reads formats 0 to {FORMAT}: install a newer memstack, "
            "or use another copy if it should be older, for then it is damaged"
        )
    return int(number)


def _digest(number: int, tensors: Mapping[str, Tensor], progress: str) -> str:
    """The digest of a file of this format: from the first number on, it covers the number."""
    return digest(tensors, f"format {number} {progress}" if number else progress)


def digest(tensors: Mapping[str, Tensor], progress: str) -> str:
    """SHA-256 over the progress and the tensors' names, types, shapes and contents."""
    total = hashlib.sha256(progress.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
