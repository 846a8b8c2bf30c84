"""The mistakes that training and evaluation can be told about, one class each; messages are one line with the mend."""

import os
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from memstack.contract.errors import MemstackError


class DivergedError(MemstackError, ArithmeticError):
    """Training produced a loss or a gradient that is not a number."""


class RunFolderError(MemstackError, ValueError):
    """A run folder holds something else than what was asked of it, or cannot be written."""


class TrainingStopped(KeyboardInterrupt):
    """A signal ended the training; the message says what is saved and how to go on."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number
        """What a shell expects of a command that this signal ended: 130 for Ctrl-C, 143 for SIGTERM."""


class RunFolderWarning(UserWarning):
    """Something in a run folder was not as it should be, and training goes on without it."""


def going_on(folder: Path) -> str:
    """Return the command that goes on with a run, as a shell takes it; by as many processes as torchrun has started."""
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    start = f"torchrun --nproc-per-node {ranks} -m memstack" if ranks > 1 else "memstack"
    return f"{start} train --resume --out {shlex.quote(os.fspath(folder))}"


@contextmanager
def writing(path: Path, then: str | None = None) -> Generator[None, None, None]:
    """Make of what the system says while a file is written a RunFolderError with file, reason and what to do ``then``.

    Without ``then`` it is a file of a run, which goes on by a command.
    """
    try:
        yield
    except OSError as error:
        mend = f"mend that, then {then or f'go on with: {going_on(path.parent)}'}"
        raise RunFolderError(f"{path} cannot be written ({error.strerror or error}): {mend}") from error
