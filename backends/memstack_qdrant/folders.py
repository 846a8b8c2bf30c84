"""Folders of embedded stores, one a memory: locked while its process lives, removed by the next if it was killed."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

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
