"""What a checkpoint says of itself: how far the run is; every name, with its shape and files; every file's digest."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, StringConstraints, ValidationError, field_validator

from memstack.plugins.bounds import LARGEST_COUNT
from memstack.plugins.config import Frozen, first_problem
from memstack_models.data.errors import CheckpointError
from memstack_models.training.records import strict_json

MANIFEST = "manifest.json"
FORMAT = 2
"""Of the checkpoints that are written: a folder. Formats 0, without a number, and 1 are one file, and read as well."""
DIGEST = re.compile(rb'\{"sha256": "([0-9a-f]{64})", ')
"""How a manifest begins: with the digest of what follows."""


class Progress(Frozen):
    """What a checkpoint says beside its tensors."""

    step: Annotated[int, Field(strict=True, ge=0, le=LARGEST_COUNT)]
    """Steps done."""
    run: dict[str, Any] | None = None
    """The configuration that decided them; older checkpoints, and those written by hand, have none."""


class HeldFile(Frozen):
    """A file of tensors, in safetensors."""

    size: NonNegativeInt
    """Bytes."""
    sha256: str


FileName = Annotated[str, StringConstraints(pattern=r"^rank-\d{1,9}\.safetensors$")]
Shape = tuple[NonNegativeInt, ...]


class HeldTensor(Frozen):
    """A tensor, and where it lies."""

    dtype: str
    shape: Shape
    files: Annotated[tuple[FileName, ...], Field(min_length=1)]
    """One file, or those that hold its pieces along the first axis, in their order."""

    @field_validator("files")
    @classmethod
    def _different(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(files)) < len(files):
            raise ValueError(f"a file is named twice: {', '.join(files)}")
        return files


class Manifest(Frozen):
    """All of a checkpoint but the tensors."""

    format: int
    progress: Progress
    files: dict[FileName, HeldFile]
    tensors: dict[str, HeldTensor]

    def inside(self, file: str) -> dict[str, HeldTensor]:
        """Return the tensors that lie in a file, whole or in part."""
        return {name: held for name, held in self.tensors.items() if file in held.files}


def as_bytes(progress: Mapping[str, Any], files: Mapping[str, Any], tensors: Mapping[str, Any]) -> bytes:
    """Return a manifest as it is written."""
    return seal(json.dumps({"format": FORMAT, "progress": progress, "files": files, "tensors": tensors}))


def seal(text: str) -> bytes:
    """Put the digest of a JSON object into its front."""
    rest = text[1:].encode()
    return b'{"sha256": "' + hashlib.sha256(rest).hexdigest().encode() + b'", ' + rest


def is_of(content: bytes, sha256: str) -> bool:
    """Whether a digest is that of this content."""
    return hashlib.sha256(content).hexdigest() == sha256


def read_manifest(place: Path) -> Manifest:
    """Read the manifest of a checkpoint's folder; CheckpointError if it is missing, damaged or of an unknown format."""
    path = place / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); use another copy of {place}") from None
    found = DIGEST.match(content)
    if found is None or not is_of(content[found.end() :], found[1].decode()):
        raise CheckpointError(f"{path} is damaged: its contents do not match their digest; use another copy")
    try:
        tree = strict_json(b"{" + content[found.end() :])
        if isinstance(tree, dict):
            _check_format(path, tree)
        return Manifest.model_validate(tree)
    except ValidationError as error:
        problem = first_problem(error, Manifest)
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        problem = str(error)
    raise CheckpointError(f"{path} is damaged: it is no manifest ({problem}); use another copy")


def _check_format(path: Path, tree: Mapping[str, Any]) -> None:
    if (number := tree.get("format")) != FORMAT:
        raise CheckpointError(unknown_format(path, number))


def unknown_format(path: Path, number: Any) -> str:
    """Return what is said of a file of a format that is not read."""
    return (
        f"{path} is of format {number}; this memstack reads formats 0 to {FORMAT}: install a newer memstack, "
        "or use another copy if it should be older, for then it is damaged"
    )
