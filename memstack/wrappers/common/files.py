"""A store in a folder: what it says of itself in one file, its entries in safetensors, some thousands a file."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from memstack.contract.errors import StateError
from memstack.contract.memory import Memory
from memstack.plugins.writing import write_whole
from memstack.wrappers.common.records import Contents, LayerShape

LOG, LOCK = "store.jsonl", "store.lock"
PIECE = re.compile(r"entries-(\d{12})\.safetensors")

Parts = Mapping[int, tuple[Float[Tensor, "heads n key_dim"], Float[Tensor, "heads n value_dim"]]]
"""By layer: keys and values of the same tokens."""


class FileLog:
    """Lines that are there whole or not at all, also after a kill."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[str]:
        """Return all lines; one that was cut off is not there."""
        text = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
        return text.split("\n")[:-1]

    def append(self, lines: Sequence[str]) -> None:
        """Add lines."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write("".join(f"{line}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())


class Pieces:
    """The entries of a folder, in files that are called after their first entry."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self.folder, self._dtype = folder, getattr(torch, dtype)
        self.where = str(folder)

    def append(self, first: int, parts: Parts) -> None:
        """Write entries from number ``first`` on, once as well as twice."""
        named = {
            f"{layer}.{name}": part.detach().to("cpu", self._dtype).contiguous()
            for layer, pair in parts.items()
            for name, part in zip(("keys", "values"), pair, strict=True)
        }
        write_whole(self.folder / f"entries-{first:012d}.safetensors", save(named))

    def cut(self, entries: int) -> None:
        """Have no more than so many, which end where a file does."""
        for first, path in self._files():
            if first >= entries:
                path.unlink()

    def load(self, layer: int, shape: LayerShape, entries: int, memory: Memory) -> None:
        """Add the entries of a layer to a memory of one row; StateError unless all are there."""
        found = 0
        for first, path in self._files():
            if first == found < entries:
                pair = _pair(path, layer, shape)
                found += pair[0].shape[1]
                memory.add(*(part[None] for part in pair))
        if found != entries:
            raise StateError(f"{self.folder} has {found:,} of {entries:,} entries of layer {layer}: build it anew")

    def close(self) -> None:
        """There is nothing to give up."""

    def _files(self) -> Iterator[tuple[int, Path]]:
        named = ((PIECE.fullmatch(path.name), path) for path in self.folder.glob("entries-*"))
        yield from sorted((int(match[1]), path) for match, path in named if match)


def _pair(path: Path, layer: int, shape: LayerShape) -> tuple[Tensor, Tensor]:
    """A layer's keys and values of one file, which is mapped: the others' are not read."""
    try:
        with safe_open(path, "pt") as file:
            keys, values = file.get_tensor(f"{layer}.keys"), file.get_tensor(f"{layer}.values")
    except (OSError, SafetensorError) as error:
        raise StateError(f"{path} cannot be read as entries of a store: {error}") from None
    n = keys.shape[1] if keys.ndim == 3 else 0
    expected = (shape.heads, n, shape.key_dim), (shape.heads, n, shape.value_dim)
    if (tuple(keys.shape), tuple(values.shape)) != expected:
        raise StateError(f"{path} should hold {expected[0]} and {expected[1]}, got {tuple(keys.shape)}")
    return keys, values


def check_whole(contents: Contents | None, where: str, digest: str) -> Contents:
    """Return what a store says of itself; StateError unless it is a whole one of a model with these weights."""
    if contents is None:
        raise StateError(f"there is no store in {where}: build one with memstack build-store or hf-build-store")
    if not contents.finished:
        raise StateError(f"the store {where} is not finished: give the command that builds it once more")
    check_model(contents, where, digest)
    return contents


def check_model(contents: Contents, where: str, digest: str) -> None:
    """StateError unless a store is that of a model with these weights."""
    if contents.header.digest != digest:
        raise StateError(
            f"the store {where} holds keys of another model, {contents.header.model}, which mean nothing to this one: "
            "read it with the weights, in the precision, that it was built with"
        )
