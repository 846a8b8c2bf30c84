"""Where a store is: a folder, or a server's url with the store's name as its path; and what keeps its entries there."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from memstack.contract.errors import BackendUnavailableError, ConfigError
from memstack.contract.shape import MemoryShape
from memstack.plugins.paths import in_full
from memstack.plugins.registry import registry
from memstack.store.remote import Notes, RemoteMemory
from memstack.wrappers.common.files import LOG, FileLog, Parts
from memstack.wrappers.common.records import Header

URL = re.compile(r"(?P<server>\w+://[^/\s]+)/(?P<name>[A-Za-z0-9_-]{1,64})/?")
MOST = 1 << 36
"""Entries of a layer that an engine can number."""


class Place(NamedTuple):
    """Where a store is."""

    where: str
    """As it was given."""
    folder: Path | None
    """None on a server."""
    options: Mapping[str, Any]
    """Of a backend that keeps its entries there."""
    prefix: str
    """What their names begin with."""

    def log(self, backend: str | None, options: Mapping[str, Any]) -> FileLog | Notes:
        """Return what the store says of itself; ``backend`` is what keeps it on a server."""
        if self.folder is not None:
            return FileLog(self.folder / LOG)
        name = keeper(backend)
        found = cast("type[RemoteMemory]", registry().backend_class(name))
        return found.notes(registry().options(name, {**self.options, **options, "kept": self.prefix}))


def place_of(where: str) -> Place:
    """Read a folder's name or a url; ConfigError for a url that names no store."""
    if "://" not in where:
        folder = in_full(where, "the store")
        return Place(where, folder, {"path": folder}, "layer")
    if (found := URL.fullmatch(where)) is None:
        raise ConfigError(f"the url {where!r} names no store: expected one as http://HOST:PORT/NAME")
    return Place(where, None, {"url": found["server"]}, found["name"])


def keeper(backend: str | None) -> str:
    """Return the backend that keeps a store, or else the first that can; ConfigError for one that cannot."""
    can = [spec.name for spec in registry().specs() if spec.keeps]
    if backend is not None and registry().spec(backend).keeps:
        return backend
    if backend is not None:
        raise ConfigError(f"backend {backend!r} keeps nothing beyond its process; those that do: {', '.join(can)}")
    if not can:
        raise BackendUnavailableError("no backend that is installed keeps a store on a server; memstack backends lists")
    return can[0]


class Kept:
    """The entries of a store in an engine that keeps them: a memory of one row for each layer."""

    def __init__(self, place: Place, backend: str, options: Mapping[str, Any], header: Header, entries: int) -> None:
        dtype = "float16" if header.dtype == "float16" else "float32"
        self.memories: dict[int, RemoteMemory] = {}
        for layer, shape in header.layers.items():
            size = MemoryShape(rows=1, **shape.model_dump(), capacity=MOST)
            given = {"dtype": dtype, **place.options, **options, "kept": f"{place.prefix}-{layer}"}
            self.memories[layer] = cast(RemoteMemory, registry().create(backend, size, **given))
            self.memories[layer].resume(entries)

    def append(self, first: int, parts: Parts) -> None:
        """Add entries, which are the next ones, and wait until they are stored."""
        for layer, pair in parts.items():
            self.memories[layer].add(*(_one_row(part) for part in pair))
        for memory in self.memories.values():
            memory.flush()

    def cut(self, entries: int) -> None:
        """What lies beyond so many is written over."""

    def close(self) -> None:
        """Give up the connections."""
        self.memories.clear()


def _one_row(part: Tensor) -> Tensor:
    return part.detach().to("cpu", torch.float32)[None]
