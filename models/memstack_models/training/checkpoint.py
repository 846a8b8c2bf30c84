"""Checkpoints: one safetensors file, written aside and renamed, with a digest that finds a flipped bit. No pickle."""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save_file
from torch import Tensor

from memstack.plugins.bounds import LARGEST_COUNT
from memstack.plugins.config import Frozen, first_problem
from memstack_models.data.errors import CheckpointError
from memstack_models.training.errors import going_on
from memstack_models.training.records import strict_json

FILE = "checkpoint.safetensors"
FORMAT = 1
"""Of the files that are written. Those from before there was a number are format 0: they are read as well."""
UNNAMED = f".tmp{6 * '[A-Za-z0-9]'}"
"""What safetensors calls a file until it is whole; a process that is killed meanwhile leaves one, as large as any."""


class Progress(Frozen):
    """What a checkpoint says beside its tensors."""

    step: Annotated[int, Field(strict=True, ge=0, le=LARGEST_COUNT)]
    """Steps done."""
    run: dict[str, Any] | None = None
    """The configuration that decided them; older checkpoints, and those written by hand, have none."""


def save(folder: Path, tensors: Mapping[str, Tensor], progress: Mapping[str, Any], then: str | None = None) -> None:
    """Write the checkpoint of a run folder; if that fails the previous one stays, and CheckpointError says why.

    It also says what to do ``then``; by default to go on with the run.
    """
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    described = json.dumps(dict(progress))
    metadata = {"format": str(FORMAT), "progress": described, "digest": _digest(FORMAT, plain, described)}
    aside = folder / f"{FILE}.writing"
    try:
        for left in folder.glob(UNNAMED):
            left.unlink(missing_ok=True)
        save_file(plain, aside, metadata)
        with aside.open("rb") as written:
            os.fsync(written.fileno())
        aside.chmod(0o644)  # safetensors makes files that only their owner can read
        aside.replace(folder / FILE)
    except BaseException as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        if not isinstance(error, OSError | SafetensorError):
            raise
        raise CheckpointError(
            f"could not write {folder / FILE} ({error}); the previous checkpoint is untouched: make room, or mend "
            f"what else it says, then {then or f'go on with: {going_on(folder)}'}"
        ) from error


def load(folder: Path, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors whose names begin with ``prefix`` and the progress; the whole file is checked first.

    Nothing of the file is held afterwards. Raises CheckpointError for one that is missing, damaged, or of a format that
    is not known.
    """
    path = folder / FILE
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}; train one with: memstack train RECIPE --out {folder}")
    tensors, metadata = _read(path)
    described = metadata.get("progress", "")
    try:
        matches = metadata.get("digest") == _digest(_format_of(path, metadata), tensors, described)
    except (RuntimeError, TypeError) as error:  # numbers of a type that no run writes, such as of half a byte
        raise CheckpointError(f"{path} is damaged ({str(error).partition(chr(10))[0]}); use another copy") from None
    if not matches:
        raise CheckpointError(f"{path} is damaged: its contents do not match their digest; use another copy")
    progress = _progress(path, described)
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}, progress


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and metadata of a file. It is read, not mapped: then it may go, or shrink, while they are used."""
    try:
        content = path.read_bytes()
        tensors = tensors_of(content)  # which checks the header as well
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (OSError, MemoryError) as error:
        raise CheckpointError(f"{path} cannot be read: {error or 'it is larger than memory'}") from None
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path} is truncated or damaged ({error}); use another copy") from None
    return tensors, header.get("__metadata__", {})


def _progress(path: Path, described: str) -> dict[str, Any]:
    try:
        return Progress.model_validate(strict_json(described)).model_dump(exclude_unset=True)
    except ValidationError as error:
        problem = first_problem(error, Progress)
    except ValueError as error:
        problem = str(error)
    raise CheckpointError(f"{path} is damaged: its progress is none ({problem}); use another copy")


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
