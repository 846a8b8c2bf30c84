"""StoreBuilder: fills a store document by document; one that was cut off goes on where it was."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from memstack.contract.errors import ConfigError, StateError
from memstack.wrappers.common.files import LOCK, Parts, Pieces, check_model
from memstack.wrappers.common.places import Kept, keeper, place_of
from memstack.wrappers.common.records import Finished, Header, LayerShape, Read, as_line, contents_of

PIECE = 8192
"""Entries that are written together, at least: the most that a kill loses of whole documents."""


class StoreBuilder:
    """Fills a store, in a folder or on a server, with what a model makes of documents.

    Every document is told before it is read: ``has`` says whether its entries are there already. Else they are given by
    ``add``, a segment at a time, and ``end`` says that they were all. Cut off at any moment and begun again with the
    same documents, it comes to the same entries: none twice, none lost. A document that was being read is read from its
    beginning. A finished store takes further documents in the same way.

    Raises:
        StateError: the place holds a store of another model or shape, or what is none.
        ConfigError: the place is none, or somebody else is filling it.
    """

    def __init__(
        self, place: str, header: Header, backend: str | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        self.place = place_of(place)
        given = dict(options or {})
        kept = keeper(backend) if backend is not None or self.place.folder is None else None
        self.header = header.model_copy(update={"backend": kept})
        self._lock = _locked(self.place.folder)
        try:
            self._log = self.place.log(kept, given)
            contents = contents_of(self._log.read(), self.place.where)
            if contents is None:
                _check_empty(self.place.folder)
                self._log.append([as_line(self.header)])
            else:
                check_model(contents, self.place.where, header.digest)
                self._check_header(contents.header)
            self._done = list(contents.documents.read) if contents else []
            self.entries = contents.entries if contents else 0
            self.finished = contents is not None and contents.finished
            folder = self.place.folder
            assert kept is not None or folder is not None
            self._entries: Pieces | Kept = (
                Pieces(folder, header.dtype)
                if kept is None and folder is not None
                else Kept(self.place, str(kept), given, self.header, self.entries)
            )
            self._entries.cut(self.entries)
        except BaseException:
            self._unlock()
            raise
        self._seen = 0
        self._whole, self._whole_parts = list[Read](), list[Parts]()
        self._parts, self._given, self._written = list[Parts](), 0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._entries.close()
        self._unlock()

    def has(self, document: str, digest: str) -> bool:
        """Whether the entries of the next document are there; StateError if another one was read in its place."""
        if self._seen >= len(self._done):
            return False
        there = self._done[self._seen]
        if (there.document, there.digest) != (document, digest):
            raise StateError(
                f"document {self._seen + 1} of the store {self.place.where} is {there.document!r}, and {document!r} is "
                "given now, or its text has changed: go on with the same documents, or build another store"
            )
        self._seen += 1
        return True

    def add(self, parts: Parts) -> None:
        """Add entries of the document at hand, of every layer."""
        self._parts.append(parts)
        self._given += _length(parts)
        if self._given - self._written >= PIECE:
            self._write_whole()
            self._write(self._parts)
            self._parts, self._written = [], self._given

    def end(self, document: str, digest: str, first: int = 0) -> None:
        """Say that the document at hand has no more entries; ``first`` is the token that its first one is of."""
        self._whole.append(Read(document=document, entries=self._given, digest=digest, first=first))
        self._whole_parts += self._parts
        begun = self._written > 0
        self._parts, self._given, self._written = [], 0, 0
        if begun or sum(map(_length, self._whole_parts)) >= PIECE:
            self._write_whole()

    def finish(self) -> int:
        """Say that all documents are there; return how many entries that are. StateError if documents are missing."""
        if self._seen < len(self._done):
            missing = self._done[self._seen].document
            raise StateError(f"the store {self.place.where} also holds {missing!r}, which was not given now: give all")
        self._write_whole()
        if not self.entries:
            raise ConfigError("nothing was read that a memory would have kept: the documents are too short, or none")
        if not self.finished:
            self._log.append([as_line(Finished(finished=self.entries))])
        return self.entries

    def _write_whole(self) -> None:
        """Write the documents that have ended."""
        if self._whole:
            self._write(self._whole_parts)
            self._log.append([as_line(each) for each in self._whole])
            self._whole, self._whole_parts, self.finished = [], [], False

    def _write(self, parts: Sequence[Parts]) -> None:
        if parts:
            self._entries.append(self.entries, {layer: _together(parts, layer) for layer in self.header.layers})
            self.entries += sum(map(_length, parts))

    def _check_header(self, there: Header) -> None:
        for name in ("layers", "dtype", "backend"):
            before, now = getattr(there, name), getattr(self.header, name)
            if before != now:
                raise StateError(
                    f"the store {self.place.where} was begun with other {name}: {_shown(before)}, not {_shown(now)}; "
                    "go on as it was begun, or build another one"
                )

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()


def _length(parts: Parts) -> int:
    return next(iter(parts.values()))[0].shape[1]


def _together(parts: Sequence[Parts], layer: int) -> tuple[Tensor, Tensor]:
    return torch.cat([each[layer][0] for each in parts], 1), torch.cat([each[layer][1] for each in parts], 1)


def _shown(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    shapes = cast("dict[int, LayerShape]", value).items()
    return str({layer: tuple(shape.model_dump().values()) for layer, shape in shapes})


def _locked(folder: Path | None) -> FileLock | None:
    """Hold a folder's lock; ConfigError if somebody else does. On a server nobody is kept out."""
    if folder is None:
        return None
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(f"another process is filling the store {folder}: wait for it") from None
    return lock


def _check_empty(folder: Path | None) -> None:
    others = sorted(each.name for each in folder.iterdir() if each.name != LOCK) if folder else []
    if others:
        raise ConfigError(f"{folder} holds other files ({others[0]}, ...); choose a new folder")
