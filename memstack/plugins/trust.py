"""Whose a file is: what others may have put there, or may change, is neither loaded nor believed, as ssh holds it."""

import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from errno import ELOOP
from io import BufferedReader
from pathlib import Path

OTHERS = stat.S_IWGRP | stat.S_IWOTH
MOST_LINKS = 40
_FLAGS = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
OPEN = os.O_RDONLY | sum(getattr(os, name, 0) for name in _FLAGS)
"""How a file is opened that may not be what it should: no link is followed, no pipe is waited for."""


class UntrustedError(OSError):
    """Others may have written what was to be read; it says who and what, and how that is mended."""


def doubt_about(folder: Path) -> str | None:
    """Say why others decide what lies in a folder, with the mend; None if only the user and root do.

    Every folder on the way, also through links, has to belong to one of the two, and nobody else may write to it unless
    it is sticky, as /tmp is. What is not there yet is nobody's. Where files have no owners, this is always None.
    """
    try:
        return next(filter(None, (_doubt(place, place.lstat()) for place in _way_to(folder))), None)
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_own(path: Path) -> bytes:
    """Return the content of an ordinary file that nobody else can have written; raises what ``open_own`` does."""
    with open_own(path) as file:
        return file.read()


@contextmanager
def open_own(path: Path) -> Generator[BufferedReader, None, None]:
    """Open an ordinary file that nobody but the user and root can have written.

    Looked at is what was opened, so that nothing can be put in its place meanwhile. UntrustedError if somebody else
    can; OSError if there is no such file.
    """
    if reason := doubt_about(path.parent):
        raise UntrustedError(reason)
    try:
        descriptor = os.open(path, OPEN)
    except OSError as error:
        if error.errno == ELOOP:
            raise UntrustedError(f"{path} is a link: remove it") from None
        raise
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UntrustedError(f"{path} is no ordinary file: remove it")
        if reason := _doubt(path, found):
            raise UntrustedError(reason)
        yield file


def _doubt(path: Path, found: os.stat_result) -> str | None:
    """Why this one file, folder or link is not to be trusted."""
    if not hasattr(os, "geteuid"):
        return None
    if found.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to another user (uid {found.st_uid}): choose a folder of your own"
    if stat.S_ISLNK(found.st_mode) or (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
        return None
    return f"others may write to {path}: chmod go-w {path}" if found.st_mode & OTHERS else None


def _way_to(folder: Path) -> Iterator[Path]:
    """Every place that decides where a path leads: its folders, its links, and the folders those lead through."""
    first, *rest = folder.absolute().parts
    at, links = Path(first), 0
    yield at
    while rest:
        part, *rest = rest
        at = at.parent if part == os.pardir else at / part
        yield at
        if at.is_symlink():
            links += 1
            if links > MOST_LINKS:
                raise UntrustedError(f"{folder} leads round a circle of links: choose another folder")
            target = at.readlink()
            at, rest = at.parent, [*target.parts, *rest]
            if target.is_absolute():
                first, *rest = rest
                at = Path(first)
