"""Checkpoints: a folder of safetensors files, one of each rank, and a manifest; written aside and renamed. No pickle.

``checkpoint-40/`` in a run's folder is that of step 40. What is damaged in it is found before any of it is used.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from memstack_models.data.errors import CheckpointError
from memstack_models.training.errors import going_on
from memstack_models.training.manifest import MANIFEST, HeldTensor, Manifest, Shape, as_bytes, read_manifest
from memstack_models.training.one_file import FILE, load_one_file, read_tensors
from memstack_models.training.ranks import ALONE, OtherRankError, Ranks

WRITING = "checkpoint.writing"
FOLDER = re.compile(r"checkpoint-(\d+)(\.old)?")
"""A checkpoint of a step; an old one makes room for another of the same step."""


@dataclass(frozen=True)
class Saved:
    """What was read of a checkpoint."""

    path: Path
    """Of its folder, or of its file."""
    tensors: dict[str, Tensor]
    """Those that were asked for; of a checkpoint of one file all, for they have other names."""
    shapes: dict[str, Shape]
    """Of all that it holds, also of those that are elsewhere or in part here."""
    progress: dict[str, Any]


def save(
    folder: Path,
    tensors: Mapping[str, Tensor],
    progress: Mapping[str, Any],
    then: str | None = None,
    ranks: Ranks = ALONE,
    pieces: Mapping[str, Shape] | None = None,
) -> None:
    """Write the checkpoint of a run folder; if that fails the previous one stays, and CheckpointError says why.

    It also says what to do ``then``; by default to go on with the run. Each rank gives its own ``tensors``; of those
    named in ``pieces``, with their whole shapes, a piece along the first axis, in the order of ranks.
    """
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    aside = folder / WRITING
    try:
        ranks.by_first(lambda: _cleared(aside))
        described = ranks.texts(ranks.together(lambda: _write_file(aside, ranks.rank, plain, pieces or {})))
        ranks.by_first(lambda: _put(aside, folder, progress, described))
    except BaseException as error:
        if not ranks.first:
            raise
        shutil.rmtree(aside, ignore_errors=True)
        if not isinstance(error, OSError | SafetensorError | OtherRankError):
            raise
        raise CheckpointError(
            f"could not write {folder / name_of(progress['step'])} ({error}); the previous checkpoint is untouched: "
            f"make room, or mend what else it says, then {then or f'go on with: {going_on(folder)}'}"
        ) from error


def load(folder: Path, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors whose names begin with ``prefix`` and the progress; all of the checkpoint is checked first.

    Nothing of its files is held afterwards. Raises CheckpointError, which names the file, if one is missing, damaged,
    or of a format that is not known.
    """
    saved = read(folder, (prefix,))
    return {name: tensor for name, tensor in saved.tensors.items() if name.startswith(prefix)}, saved.progress


def read(
    folder: Path, prefixes: tuple[str, ...], ranks: Ranks = ALONE, spans: Mapping[str, tuple[int, int]] | None = None
) -> Saved:
    """Read what begins so, as ``load`` does; each file is checked by some rank, and by all that read of it.

    ``spans`` says of which tensors a part is wanted: from where to where along the first axis.
    """
    while True:
        path = newest(folder)
        if path is None:
            what = f"there is no checkpoint {folder / name_of('STEP')}"
            raise CheckpointError(f"{what}; train one with: memstack train RECIPE --out {folder}")
        try:
            return _read(path, prefixes, ranks, spans or {})
        except CheckpointError:
            if newest(folder) == path:
                raise  # else another has taken its place meanwhile, and that one is read


def newest(folder: Path) -> Path | None:
    """The checkpoint of a run folder, if it has one: of more than one, as a kill may leave, the last that was made."""
    there = [(int(found[1]), found[2] is None, path) for path, found in _folders(folder)]
    if there:
        return max(there)[2]
    return folder / FILE if (folder / FILE).is_file() else None


def name_of(step: int | str) -> str:
    """What the folder of a step's checkpoint is called."""
    return f"checkpoint-{step}"


def is_part(name: str) -> bool:
    """Whether something in a run's folder is called like a checkpoint, whole or in part."""
    return name in (FILE, WRITING) or FOLDER.fullmatch(name) is not None


def remove(folder: Path, but: Path | None = None) -> None:
    """Remove all checkpoints of a run folder but one."""
    for path in (folder / WRITING, *(path for path, _ in _folders(folder))):
        if path != but:
            shutil.rmtree(path, ignore_errors=True)
    (folder / FILE).unlink(missing_ok=True)


def _folders(folder: Path) -> list[tuple[Path, re.Match[str]]]:
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return [(folder / name, found) for name in names if (found := FOLDER.fullmatch(name)) is not None]


def _cleared(aside: Path) -> None:
    """A folder without what a killed save has left there, which is as large as any."""
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir()


def _write_file(aside: Path, rank: int, tensors: dict[str, Tensor], pieces: Mapping[str, Shape]) -> str:
    """Write a rank's tensors, and return what the manifest says of them."""
    path = aside / f"rank-{rank}.safetensors"
    save_file(tensors, path)
    with path.open("rb") as written:
        os.fsync(written.fileno())
        sha256 = hashlib.file_digest(written, "sha256").hexdigest()
    path.chmod(0o644)  # safetensors makes files that only their owner can read
    shapes = {name: pieces.get(name, tuple(tensor.shape)) for name, tensor in tensors.items()}
    held = {name: {"dtype": _dtype(tensor), "shape": shapes[name]} for name, tensor in tensors.items()}
    return json.dumps({"file": path.name, "size": path.stat().st_size, "sha256": sha256, "tensors": held})


def _put(aside: Path, folder: Path, progress: Mapping[str, Any], described: list[str]) -> None:
    """Write the manifest, and give the folder its name: from then on it is the checkpoint."""
    files: dict[str, Any] = {}
    tensors: dict[str, Any] = {}
    for told in map(json.loads, described):
        files[told["file"]] = {"size": told["size"], "sha256": told["sha256"]}
        for name, held in told["tensors"].items():
            tensors.setdefault(name, held | {"files": []})["files"].append(told["file"])
    with (aside / MANIFEST).open("wb") as manifest:
        manifest.write(as_bytes(progress, files, tensors))
        manifest.flush()
        os.fsync(manifest.fileno())
    place = folder / name_of(progress["step"])
    if place.exists():
        old = place.with_name(f"{place.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        place.rename(old)
    aside.rename(place)
    remove(folder, but=place)


def _read(path: Path, prefixes: tuple[str, ...], ranks: Ranks, spans: Mapping[str, tuple[int, int]]) -> Saved:
    if path.is_file():
        tensors, progress = load_one_file(path)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        return Saved(path, tensors, shapes, progress)
    manifest = read_manifest(path)
    if path.name.removesuffix(".old") != name_of(step := manifest.progress.step):
        raise CheckpointError(f"{path / MANIFEST} is of step {step}, the folder of another: use another copy of {path}")
    found: dict[str, list[Tensor]] = {}
    begin = dict.fromkeys(manifest.tensors, 0)
    for i, file in enumerate(manifest.files):
        inside = manifest.inside(file)
        if i % ranks.size != ranks.rank and not any(name.startswith(prefixes) for name in inside):
            continue
        for name, piece in _checked(path / file, manifest, inside).items():
            if name.startswith(prefixes):
                found.setdefault(name, []).append(_part(piece, begin, name, spans.get(name)))
    tensors = {name: parts[0] if len(parts) == 1 else torch.cat(parts) for name, parts in found.items()}
    _check_whole(path, manifest, tensors, prefixes, spans)
    shapes = {name: held.shape for name, held in manifest.tensors.items()}
    return Saved(path, tensors, shapes, manifest.progress.model_dump(exclude_unset=True))


def _checked(path: Path, manifest: Manifest, inside: Mapping[str, HeldTensor]) -> dict[str, Tensor]:
    """The tensors of a file, which are those that the manifest has there."""
    held = manifest.files[path.name]
    tensors, _ = read_tensors(path, held.sha256)
    if other := tensors.keys() ^ inside.keys():
        which = "not in it" if min(other) in inside else "not in the manifest"
        raise CheckpointError(f"{path} is damaged: {min(other)} is {which}; use another copy")
    for name, tensor in tensors.items():
        whole, came = inside[name], tuple(tensor.shape)
        alike = came == whole.shape if len(whole.files) == 1 else came[1:] == whole.shape[1:] and len(came) > 0
        if _dtype(tensor) != whole.dtype or not alike:
            raise CheckpointError(
                f"{path} is damaged: {name} is {_dtype(tensor)} {came}, the manifest has {whole.dtype} {whole.shape}; "
                "use another copy"
            )
    return tensors


def _part(piece: Tensor, begin: dict[str, int], name: str, span: tuple[int, int] | None) -> Tensor:
    """What is wanted of a piece; ``begin`` is where it lies in the whole, and is moved to its end."""
    if span is None or piece.ndim == 0:
        return piece
    first = begin[name]
    begin[name] = first + len(piece)
    start, stop = (min(max(each - first, 0), len(piece)) for each in span)
    return piece[start:stop].clone()


def _check_whole(
    path: Path,
    manifest: Manifest,
    tensors: Mapping[str, Tensor],
    prefixes: tuple[str, ...],
    spans: Mapping[str, tuple[int, int]],
) -> None:
    """Every name there, in the length that the manifest has, or that was asked for."""
    for name, held in manifest.tensors.items():
        if not name.startswith(prefixes):
            continue
        length = held.shape[:1] if name not in spans else (spans[name][1] - spans[name][0],)
        if name not in tensors or tuple(tensors[name].shape[:1]) != length:
            raise CheckpointError(f"{path / MANIFEST} is damaged: {name} is not {held.shape}; use another copy")


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
