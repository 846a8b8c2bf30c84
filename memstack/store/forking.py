"""What becomes of memories when their process is forked: nothing is at work then, and no lock is held for ever.

The process that a fork makes has one thread and a copy of all memory: locks that other threads held stay locked, pools
believe in threads that are not there, and OpenMP waits for some of them for ever.
"""

import ctypes
import os
from typing import Protocol
from weakref import WeakValueDictionary

import torch


class Forkable(Protocol):
    """What has to know of a fork."""

    def before_fork(self) -> None:
        """Come to rest, in the process that is about to be forked."""
        ...

    def after_fork(self) -> None:
        """Do without what was left behind, in the process that the fork made."""
        ...


_KNOWN: WeakValueDictionary[int, Forkable] = WeakValueDictionary()


def tell_of_forks(one: Forkable) -> None:
    """Call ``before_fork`` and ``after_fork`` of this object at every fork for as long as it lives."""
    _KNOWN[id(one)] = one


def never_free(one: object) -> None:
    """Keep this object for ever, beyond Python's own end: a library that frees it may wait for threads that stayed."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))


def _before() -> None:
    for one in list(_KNOWN.values()):
        one.before_fork()


def _in_child() -> None:
    if not _KNOWN:
        return  # a process without memories need not go slower for them
    # GNU's OpenMP, which torch is built with, keeps the pool of the thread that forked. With one thread it needs none.
    torch.set_num_threads(1)
    for one in list(_KNOWN.values()):
        one.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_child=_in_child)
