"""The process in which JAX runs: the threads it works with do not come along into one that is forked from it."""

import os

from memstack import ForkError

_running: list[int] = []


def check_process() -> None:
    """Raise ForkError in a process forked from one in which a memory used JAX: there it would wait for ever."""
    if not _running:
        _running.append(os.getpid())
    if _running[0] != os.getpid():
        raise ForkError(
            "JAX ran in the process that this one was forked from, and its threads stayed there: start this process "
            "with 'spawn', or use another backend in it"
        )
