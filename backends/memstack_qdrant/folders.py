"""Folders of embedded stores, one a memory: locked while its process lives, removed by the next if it was killed."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from memstack import MemoryUnavailableError

PREFIX = "memstack-qdrant-"
LOCK = "lock"


class OwnFolder:
    """A new folder within another one."""

    def __init__(self, parent: Path) -> None:
        _remove_left_behind(parent)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._lock = _locked(self.path)

    def remove(self) -> None:
        """Remove it with all that it holds."""
        shutil.rmtree(self.path, ignore_errors=True)  # what is in use yet, the next process removes
        if self._lock is not None:
            self._lock.close()


class KeptFolder:
    """A folder within another one, by its name, which stays; MemoryUnavailableError if another process has it open."""

    def __init__(self, parent: Path, name: str) -> None:
        self.path = parent / name
        self.path.mkdir(exist_ok=True)
        self._lock = _locked(self.path)
        if self._lock is None:
            raise MemoryUnavailableError(f"{self.path} is open in another process, and its engine is for one at a time")

    def make(self, place: Path, create: Callable[[Path], object]) -> None:
        """Make what lies within it, unless it is there; aside, so that a kill leaves none that was made in part."""
        if place.exists():
            return
        aside = place.with_name(f"{place.name}.making")
        shutil.rmtree(aside, ignore_errors=True)
        create(aside)
        aside.rename(place)

    def remove(self) -> None:
        """Leave it as it is."""
        if self._lock is not None:
            self._lock.close()


def _remove_left_behind(parent: Path) -> None:
    """Remove the folders whose processes are gone."""
    for path in parent.glob(f"{PREFIX}*"):
        # One without a lock is being made: a process killed just then leaves an empty folder.
        if (path / LOCK).exists() and (lock := _locked(path)) is not None:
            shutil.rmtree(path, ignore_errors=True)
            lock.close()


def _locked(path: Path) -> IO[bytes] | None:
    """Lock a folder as one's own; None if somebody else has it."""
    try:
        lock = open(path / LOCK, "ab")  # noqa: SIM115 - held for as long as the folder is used
    except OSError:  # which is another user's, or gone by now
        return None
    os.set_inheritable(lock.fileno(), False)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock
