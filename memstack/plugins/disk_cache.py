"""What is slow to make is kept on disk: tokenised documents, recorded keys, compiled code, each with its digest."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from memstack.contract.errors import CacheError

DIGEST_SIZE = hashlib.sha256().digest_size


def cache_folder() -> Path:
    """``$MEMSTACK_CACHE``, or ``$XDG_CACHE_HOME/memstack``, or ``~/.cache/memstack``."""
    if chosen := os.environ.get("MEMSTACK_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "memstack"


def cached(name: str, build: Callable[[], bytes]) -> bytes:
    """Return the entry of that name; build and keep it if it is missing or damaged.

    CacheError if the cache folder cannot be written.
    """
    path = cache_folder() / name
    found = _read(path)
    if found is None:
        found = build()
        _write(path, found)
    return found


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, payload = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
    return payload if hashlib.sha256(payload).digest() == digest else None


def _write(path: Path, payload: bytes) -> None:
    """Write under a temporary name of its own, then rename: other processes see the whole entry or none."""
    aside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
            "set MEMSTACK_CACHE to a folder with room that can"
        ) from error
