"""Checkpoints of formats 0 and 1, which were one file, and what its tensors are called now."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from torch import Tensor

from memstack.contract.errors import StateError
from memstack.contract.state import check_state
from memstack.plugins.config import first_problem
from memstack_models.data.errors import CheckpointError
from memstack_models.training.manifest import Progress, is_of, unknown_format
from memstack_models.training.records import strict_json
from memstack_models.training.rows import row_name, split_cache, split_memory
from memstack_models.training.stream import Stream, sub_state

FILE = "checkpoint.safetensors"
KNOWN = ("0", "1")
Header = Mapping[str, Any]


def load_one_file(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read its tensors, under their names of then, and its progress; the whole file is checked first."""
    tensors, header = read_tensors(path)
    metadata = header.get("__metadata__", {})
    described = metadata.get("progress", "")
    try:
        matches = metadata.get("digest") == _digest(path, metadata, tensors, described)
    except (RuntimeError, TypeError) as error:  # numbers of a type that no run writes, such as of half a byte
        raise CheckpointError(f"{path} is damaged ({str(error).partition(chr(10))[0]}); use another copy") from None
    if not matches:
        raise CheckpointError(f"{path} is damaged: its contents do not match their digest; use another copy")
    return tensors, _progress(path, described)


def read_tensors(path: Path, sha256: str | None = None) -> tuple[dict[str, Tensor], Header]:
    """The tensors and the header of a file of safetensors; CheckpointError if its digest is not this one.

    It is read, not mapped: then it may go, or shrink, while they are used.
    """
    try:
        content = path.read_bytes()
    except (OSError, MemoryError) as error:
        raise CheckpointError(f"{path} cannot be read: {error or 'it is larger than memory'}") from None
    if sha256 is not None and not is_of(content, sha256):
        raise CheckpointError(f"{path} is truncated or damaged: it does not match its digest; use another copy")
    try:
        return tensors_of(content), json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"{path} is truncated or damaged ({error}); use another copy") from None


def _progress(path: Path, described: str) -> dict[str, Any]:
    try:
        return Progress.model_validate(strict_json(described)).model_dump(exclude_unset=True)
    except ValidationError as error:
        problem = first_problem(error, Progress)
    except ValueError as error:
        problem = str(error)
    raise CheckpointError(f"{path} is damaged: its progress is none ({problem}); use another copy")


def _digest(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor], progress: str) -> str:
    """The digest of a file of this format: from the first number on, it covers the number."""
    number = metadata.get("format", "0")
    if number not in KNOWN:
        raise CheckpointError(unknown_format(path, number))
    return digest(tensors, f"format {number} {progress}" if int(number) else progress)


def digest(tensors: Mapping[str, Tensor], progress: str) -> str:
    """SHA-256 over the progress and the tensors' names, types, shapes and contents."""
    total = hashlib.sha256(progress.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def renamed(
    tensors: Mapping[str, Tensor], parameters: Sequence[str], streams: Sequence[Stream], path: Path
) -> dict[str, Tensor]:
    """Return the tensors of such a file under the names of now: by parameter, and by row.

    ``parameters`` are the optimiser's, in its order. What is no tensor of a run keeps its name, and is refused by it.
    CheckpointError for rows that cannot be told apart.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        number, _, of_it = rest.partition(".")
        if part == "optimizer" and number.isdecimal() and int(number) < len(parameters):
            found[f"optimizer.{parameters[int(number)]}.{of_it}"] = tensor
        elif name in RANDOM:
            found[RANDOM[name]] = tensor
        elif part != "stream" or of_it.startswith("reader.") or int_or_none(number) not in range(len(streams)):
            found[name] = tensor
    for number, stream in enumerate(streams):
        try:
            found |= _by_row(sub_state(tensors, f"stream.{number}"), stream)
        except (StateError, KeyError, IndexError, ValueError) as error:
            raise CheckpointError(f"{path} does not fit this run: {error}; use another copy") from None
    return found


RANDOM = {"random": "rank.0.random", "random.cuda": "rank.0.random.cuda"}


def int_or_none(text: str) -> int | None:
    """Return the number that a text is, if it is one."""
    return int(text) if text.isdecimal() else None


def _by_row(state: Mapping[str, Tensor], stream: Stream) -> dict[str, Tensor]:
    """What a stream remembered, and what its cache held, by row."""
    rows, found = stream.all_rows, dict[str, Tensor]()
    for layer, memory in stream.bank.items():
        saved = sub_state(state, f"memory.{layer}")
        if lacking := sorted(memory.state_dict().keys() - saved.keys()):
            raise StateError(f"it lacks memory.{layer}.{lacking[0]}")
        check_state(saved, replace(memory.shape, rows=len(rows)))
        for row, parts in zip(rows, split_memory(saved), strict=True):
            found |= {row_name(row, f"memory.{layer}.{name}"): tensor for name, tensor in parts.items()}
    for row, parts in zip(rows, split_cache(sub_state(state, "cache"), len(rows)), strict=True):
        found |= {row_name(row, f"cache.{name}"): tensor for name, tensor in parts.items()}
    others = {name: tensor for name, tensor in state.items() if not name.startswith(("reader.", "cache."))}
    layers = tuple(f"memory.{layer}." for layer in stream.bank)
    if unknown := sorted(name for name in others if not name.startswith(layers)):
        raise StateError(f"it has {unknown[0]}, which this run has not")
    return found
