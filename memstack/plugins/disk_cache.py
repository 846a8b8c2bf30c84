"""What is slow to make is kept on disk: tokenised documents, recorded keys, compiled code, each with its digest.

A digest shows damage, and proves nothing about who wrote: only what nobody else can have written is read.
"""

import contextlib
import functools
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from memstack.contract.errors import CacheError, ConfigError
from memstack.plugins.paths import in_full
from memstack.plugins.trust import UntrustedError, doubt_about, read_own

DIGEST_SIZE = hashlib.sha256().digest_size
VARIABLE = "MEMSTACK_CACHE"
PRIVATE = 0o700


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


def _write(path: Path, payload: bytes) -> None:
    """Write under a temporary name of its own, then rename: other processes see the whole entry or none."""
    aside = None
    try:
        _make_private(path.parent)
        if reason := doubt_about(path.parent):
            _warn_once(f"nothing is kept in a cache: {reason}")  # somebody made it meanwhile
            return
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            aside = Path(file.name)
            file.write(hashlib.sha256(payload).digest() + payload)
        aside.replace(path)
    except OSError as error:
        if aside is not None:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
        raise CacheError(
            f"the cache folder {path.parent} cannot be written ({error.strerror}): "
            f"set {VARIABLE} to a folder with room that can"
        ) from error


def _make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for the user alone."""
    for each in reversed((folder, *folder.parents)):
        if not each.exists():
            each.mkdir(mode=PRIVATE, exist_ok=True)


@functools.cache
def _warn_once(text: str) -> None:
    logging.getLogger(__name__).warning(text)
