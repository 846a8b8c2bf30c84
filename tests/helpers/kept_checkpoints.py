"""Checkpoints as they lie on disk: read without a look, written with a right digest, also those of one file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from memstack_models.training import checkpoint
from memstack_models.training.manifest import MANIFEST, seal
from memstack_models.training.one_file import FILE, digest
from memstack_models.training.trainer import Trainer
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

Tensors = dict[str, Tensor]
ONLY = "rank-0.safetensors"
"""The file of a checkpoint that one process has written."""


def kept_file(folder: Path) -> Path:
    """Where the tensors of the checkpoint in a folder are, if one process has written it."""
    place = checkpoint.newest(folder)
    assert place is not None
    return place if place.is_file() else place / ONLY


def files_of(folder: Path) -> list[Path]:
    """Every file of the checkpoint in a folder."""
    place = checkpoint.newest(folder)
    assert place is not None
    return [place] if place.is_file() else sorted(place.iterdir())


def read(folder: Path) -> tuple[Tensors, dict[str, Any]]:
    """The tensors and the progress of a checkpoint of one process, believed without a look."""
    path = kept_file(folder)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        described = file.metadata()["progress"] if path.name == FILE else None
    manifest = path.with_name(MANIFEST)
    return tensors, json.loads(described) if described else json.loads(manifest.read_bytes())["progress"]


def write(folder: Path, tensors: Mapping[str, Tensor], progress: str) -> None:
    """Write over the checkpoint in a folder, whatever it is; ``progress`` is JSON, or passes itself off as such."""
    place = checkpoint.newest(folder)
    assert place is not None
    if place.is_file():
        write_one_file(folder, tensors, progress)
        return
    checkpoint.save(folder, tensors, {"step": checkpoint.read(folder, ("none",)).progress["step"]})
    path = kept_file(folder).with_name(MANIFEST)
    tree = json.loads(path.read_bytes())
    rest = {name: part for name, part in tree.items() if name not in ("sha256", "progress")}
    path.write_bytes(seal(f'{json.dumps(rest)[:-1]}, "progress": {progress}}}'))


def write_one_file(folder: Path, tensors: Mapping[str, Tensor], progress: str, number: str | None = "1") -> None:
    """Write a checkpoint as it was before there were folders: one file, of this format, or of none."""
    plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
    metadata = {"progress": progress, "digest": digest(plain, f"format {number} {progress}" if number else progress)}
    save_file(plain, folder / FILE, metadata | ({"format": number} if number else {}))


def save_in_one_file(run: Trainer) -> None:
    """Save a run as it was saved before there were folders, under the names of then, instead of its checkpoint."""
    run.save()
    _, progress = read(run.folder)
    checkpoint.remove(run.folder)
    tensors: dict[str, Tensor] = {"random": torch.get_rng_state()}
    tensors |= {f"model.{name}": tensor for name, tensor in run.model.state_dict().items()}
    for number, state in run.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items() if tensor is not None}
    for number, stream in enumerate(run.streams):
        parts = {"reader": stream.reader, "cache": stream.cache, "memory": stream.bank}
        for part, of in parts.items():
            tensors |= {f"stream.{number}.{part}.{name}": tensor for name, tensor in of.state_dict().items()}
    write_one_file(run.folder, tensors, json.dumps(progress))
