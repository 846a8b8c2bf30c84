"""Memories whose entries lie in a store elsewhere, by a network or in a library of its own.

``RemoteMemory`` knows no engine: a backend gives it a ``RemoteStore``, which moves points and finds them.
"""

from memstack.store.remote.insisting import Insistence
from memstack.store.remote.memory import RemoteMemory
from memstack.store.remote.protocol import Array, Asked, Found, Notes, Points, Ranges, RemoteStore, Sending

__all__ = [
    "Array",
    "Asked",
    "Found",
    "Insistence",
    "Notes",
    "Points",
    "Ranges",
    "RemoteMemory",
    "RemoteStore",
    "Sending",
]
