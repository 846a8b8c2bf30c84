"""Paths that somebody gave: a home folder that may not be there, a file that may be none."""

import os
import stat
from errno import EFBIG, EINVAL
from pathlib import Path

from memstack.contract.errors import ConfigError


def in_full(path: str | Path, whose: str) -> Path:
    """Return the path with a leading ``~`` or ``~user`` as that home folder.

    ConfigError, saying ``whose`` path it is, where no such folder is known: to a user without a name, as containers
    have them, for one.
    """
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):
        home = Path(path).parts[0]
        raise ConfigError(f"{whose}: no home folder is known for {home!r} in {str(path)!r}; write it in full") from None


def read_ordinary(path: Path, most: int) -> bytes:
    """Return the content of a file of at most so many bytes.

    OSError, whose ``strerror`` says what else it is, for a folder, for a pipe or a device, which could be waited for
    forever, and for what is longer. FileNotFoundError as ever.
    """
    try:
        mode = path.stat().st_mode
    except ValueError:
        raise OSError(EINVAL, "is no path, it holds a NUL character", repr(str(path))) from None
    if not stat.S_ISREG(mode):
        raise OSError(EINVAL, f"is a {_kind(mode)}, not a file", os.fspath(path))
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(EFBIG, f"is longer than {most:,} bytes", os.fspath(path))
    return content


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")
