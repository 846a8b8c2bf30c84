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


def save(folder: Path, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
    """Write the checkpoint of a run folder; if that fails the previous one stays, and CheckpointError says why."""
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    described = json.dumps(dict(progress))
    metadata = {"progress": described, "digest": digest(plain, described)}
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
    """Read the tensors whose names begin with ``prefix`` and the progress; the whole file is checked first."""
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
    if metadata.get("digest") != digest(tensors, described):
        raise CheckpointError(f"{path} is damaged: its contents do not match their digest; use another copy")
    wanted = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return wanted, json.loads(described)


def digest(tensors: Mapping[str, Tensor], progress: str) -> str:
    """SHA-256 over the progress and the tensors' names, types, shapes and contents."""
    total = hashlib.sha256(progress.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
