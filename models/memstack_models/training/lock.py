"""locked: one process at a time writes to a run folder. The system's own lock, which ends with its process."""

import json
import os
import platform
from collections.abc import Generator
from contextlib import contextmanager, suppress
from errno import EACCES, ENOLCK, ENOSYS, EOPNOTSUPP, EPERM
from pathlib import Path

from filelock import FileLock, Timeout

from memstack_models.training.errors import RunFolderError, writing

LOCK = "run.lock"
NO_LOCKS = {ENOSYS, ENOLCK, EOPNOTSUPP}
"""What a file system says that has no locks."""


@contextmanager
def locked(folder: Path) -> Generator[str | None, None, None]:
    """Hold the lock of an existing run folder; yields a line to show where its file system has no locks, else None.

    RunFolderError, with who it is, if another process holds it. The file stays: without a process it means nothing.
    """
    lock = FileLock(folder / LOCK, blocking=False, thread_local=False, fallback_to_soft=False, on_acquired=_sign)
    notice = None
    try:
        lock.acquire()
    except Timeout:
        raise RunFolderError(
            f"{folder} is being trained in by {_holder(folder)}: wait for it, or stop it; then go on with --resume"
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            _refuse(folder, error)
        notice = f"the file system of {folder} has no locks: nothing keeps a second training out of it"
    try:
        yield notice
    finally:
        lock.release(force=True)


def _refuse(folder: Path, error: OSError) -> None:
    if error.errno in (EACCES, EPERM) and (folder / LOCK).exists() and os.access(folder, os.W_OK):
        raise RunFolderError(f"{folder / LOCK} is another user's ({error.strerror}): train in a copy of the folder")
    with writing(folder / LOCK):
        raise error


def _sign(descriptor: int) -> None:
    """Write down who holds it, for whoever comes second."""
    text = json.dumps({"pid": os.getpid(), "host": platform.node()}).encode()
    with suppress(OSError):  # on a disk without room the lock holds all the same, and only lacks its name
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text, 0)


def _holder(folder: Path) -> str:
    try:
        found = json.loads((folder / LOCK).read_text(encoding="utf-8"))
        return f"process {found['pid']:d} on {found['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it is just being written, or could not be
        return "another process"
