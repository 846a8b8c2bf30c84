"""What is slow to make is kept on disk: tokenised documents, recorded keys, compiled code, each with its digest.

A digest shows damage, and proves nothing about who wrote: only what nobody else can have written is read.
"""

import contextlib
import functools
import hashlib
import logging
import mmap
import os
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO

from memstack.contract.errors import CacheError, ConfigError
from memstack.plugins.paths import in_full
from memstack.plugins.trust import UntrustedError, doubt_about, open_own, read_own

DIGEST_SIZE = hashlib.sha256().digest_size
VARIABLE = "MEMSTACK_CACHE"
PRIVATE = 0o700
Content = bytes | memoryview
Write = Callable[[Content], None]
"""Appends to an entry."""


def cache_folder() -> Path:
    """``$MEMSTACK_CACHE``, or ``$XDG_CACHE_HOME/memstack`` if that is absolute, or ``~/.cache/memstack``.

    CacheError where that needs a home folder and there is none.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    chosen = os.environ.get(VARIABLE) or f"{base if os.path.isabs(base) else '~/.cache'}/memstack"
    try:
        return in_full(chosen, "the cache folder")
    except ConfigError as error:
        raise CacheError(f"{error}, in {VARIABLE}") from None


def cached(name: str, build: Callable[[], bytes]) -> bytes:
    """Return the entry of that name; build and keep it if it is missing or damaged.

    Where it cannot be kept safely - there is no home folder, or others may write to the cache folder - it is built each
    time, and a warning says so once. CacheError if the cache folder cannot be written.
    """
    path = _place(name)
    if path is None:
        return build()
    found = _read(path)
    if found is None:
        found = build()
        _write(path, found)
    return found


def mapped(name: str, build: Callable[[Write], None]) -> memoryview:
    """Return the entry of that name mapped into memory, not read; build and keep it if it is missing or damaged.

    ``build`` is given a function that appends bytes, so that an entry may be larger than memory. It may be changed in
    memory, which changes no file. Kept and looked at as ``cached`` does, with the same errors; where it cannot be kept
    safely, it is a temporary file without a name.
    """
    path = _place(name)
    found = _map(path) if path else None
    return _built(path, build) if found is None else found


def kept(prefix: str) -> list[str]:
    """Return the names of the entries that begin so, sorted."""
    folder = _place("")
    return sorted(each.name for each in folder.glob(f"{prefix}*")) if folder else []


def forget(name: str) -> None:
    """Drop the entry of that name, if there is one and it can be: the next ``cached`` builds it again."""
    if path := _place(name):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _place(name: str) -> Path | None:
    """Where an entry is kept; None, and a word about it, if there is nowhere."""
    try:
        folder = cache_folder()
        if reason := doubt_about(folder):
            raise UntrustedError(f"{reason}, or name another folder in {VARIABLE}")
    except OSError as error:
        _warn_once(f"nothing is kept in a cache: {error}")
        return None
    return folder / name


def _read(path: Path) -> bytes | None:
    try:
        content = read_own(path)
    except UntrustedError as error:
        _warn_once(f"made again instead of read from the cache: {error}")
        return None
    except OSError:
        return None
    digest, payload = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
    return payload if hashlib.sha256(payload).digest() == digest else None


def _map(path: Path) -> memoryview | None:
    """What ``_read`` returns, mapped: the file that was looked at, whatever takes its name afterwards."""
    try:
        with open_own(path) as file:
            digest = file.read(DIGEST_SIZE)
            return _mapping(file) if hashlib.file_digest(file, "sha256").digest() == digest else None
    except UntrustedError as error:
        _warn_once(f"made again instead of read from the cache: {error}")
    except OSError:
        pass
    return None


def _write(path: Path, payload: bytes) -> None:
    _built(path, lambda write: write(payload))


def _built(path: Path | None, build: Callable[[Write], None]) -> memoryview:
    """Write under a temporary name of its own, then rename: other processes see the whole entry or none.

    Mapped is what was written, whether or not it can be kept.
    """
    folder = _room_for(path)
    with _aside(folder, path.name if path else "") as file:
        digest = hashlib.sha256()

        def write(content: Content) -> None:
            digest.update(content)
            with _told(folder):
                file.write(content)

        with _told(folder):
            file.write(bytes(DIGEST_SIZE))
        build(write)
        with _told(folder):
            file.seek(0)
            file.write(digest.digest())
            file.flush()
            if path and _room_for(path):
                Path(file.name).replace(path)
            return _mapping(file)


def _mapping(file: IO[bytes]) -> memoryview:
    """What follows the digest; changes of it stay in memory."""
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))[DIGEST_SIZE:]


def _room_for(path: Path | None) -> Path | None:
    """The folder of an entry, made if need be; None, and a word about it, if somebody else made it meanwhile."""
    if path is None:
        return None
    with _told(path.parent):
        _make_private(path.parent)
        if reason := doubt_about(path.parent):
            _warn_once(f"nothing is kept in a cache: {reason}")
            return None
    return path.parent


@contextlib.contextmanager
def _aside(folder: Path | None, name: str) -> Generator[IO[bytes], None, None]:
    """A temporary file, in the system's folder for those if there is no other; its name goes in the end."""
    with _told(folder):
        file = tempfile.NamedTemporaryFile(dir=folder, prefix=f".{name}.", delete=False)  # noqa: SIM115 - closed below
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):
            Path(file.name).unlink(missing_ok=True)  # it has another name if it is kept
        with contextlib.suppress(OSError):  # of what could not be written before
            file.close()


@contextlib.contextmanager
def _told(folder: Path | None) -> Generator[None, None, None]:
    """Raise CacheError for an OSError."""
    try:
        yield
    except OSError as error:
        where = f"the cache folder {folder}" if folder else f"the folder for temporary files {tempfile.gettempdir()}"
        raise CacheError(
            f"{where} cannot be written ({error.strerror}): set {VARIABLE} to a folder with room that can"
        ) from error


def _make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for the user alone."""
    for each in reversed((folder, *folder.parents)):
        if not each.exists():
            each.mkdir(mode=PRIVATE, exist_ok=True)


@functools.cache
def _warn_once(text: str) -> None:
    logging.getLogger(__name__).warning(text)
