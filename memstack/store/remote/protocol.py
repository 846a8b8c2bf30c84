"""What an engine does for a remote memory: points are sent, found, fetched, forgotten and counted."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

Array = np.ndarray[Any, Any]
Ranges = tuple[range, ...]
"""Ids, as ranges that lie apart."""


class Points(NamedTuple):
    """Entries as they are sent: an id below 2^52, a key and a value each."""

    ids: Array
    """int64 (n,)."""
    keys: Array
    """float32 (n, key_dim)."""
    values: Array
    """float32 (n, value_dim)."""


class Asked(NamedTuple):
    """Queries that are asked of the same entries."""

    live: Ranges
    """Only points with these ids are to be found."""
    queries: Array
    """float32 (q, key_dim), finite."""


class Found(NamedTuple):
    """What was found for every query, one after the other, in any order within a query; id -1 and zeros for none."""

    ids: Array
    """int64 (q, k)."""
    keys: Array | None
    """float32 (q, k, key_dim); None if they were not asked for."""
    values: Array | None

    @classmethod
    def of_hits(cls, hits: Sequence[Sequence[int]], k: int, vectors: Sequence[Array] | None) -> "Found":
        """Return the ids that each query hit, at most k, in columns; ``vectors`` are keys and values of all hits."""
        ids = np.full((len(hits), k), -1, np.int64)
        for row, each in zip(ids, hits, strict=True):
            row[: len(each)] = each
        if vectors is None:
            return cls(ids, None, None)
        keys, values = (np.zeros((*ids.shape, part.shape[1]), np.float32) for part in vectors)
        keys[ids >= 0], values[ids >= 0] = vectors
        return cls(ids, keys, values)


class Sending(Protocol):
    """What was begun and may not be done yet."""

    def done(self) -> bool:
        """Whether ``result`` would return, or raise, at once."""
        ...

    def result(self) -> object:
        """Wait until the store has done it; UnreachableError where it has not, and trying again may help."""
        ...


class Notes(Protocol):
    """Lines of text beside a store that is kept: what it says of itself."""

    def read(self) -> list[str]:
        """Return all lines, oldest first; none where there is no store."""
        ...

    def append(self, lines: Sequence[str]) -> None:
        """Add lines; they are there when it returns."""
        ...


class RemoteStore(ABC):
    """Room for the points of one memory, which nobody else has: made by ``open``, empty, and gone when it is closed.

    Or ``kept``: room of a name, which ``open`` makes unless it is there, and ``close`` leaves as it is.

    Every call ends within ``seconds``: what takes longer raises ``UnreachableError``, as anything does that may go
    better the next time. What can never go well raises another error, such as MemoryUnavailableError.
    """

    where: str
    """What it is called in messages: an address or a folder, no secret."""
    kept: bool = False
    """Whether it outlives the memory."""

    @abstractmethod
    def open(self, seconds: float) -> None:
        """Make the room; asked again where it is not known whether that was done."""

    @abstractmethod
    def send(self, points: Points, seconds: float) -> Sending:
        """Begin to store points, in place of those with the same ids; once it is done they are found."""

    @abstractmethod
    def search(
        self, asked: Sequence[Asked], k: int, seconds: float, *, exactly: bool = True, fetch: bool = True
    ) -> Found:
        """Return the k points of the largest inner product with each query; ``fetch`` brings keys and values along."""

    @abstractmethod
    def fetch(self, ids: Array, seconds: float) -> Points:
        """Return those of these points that are stored, in any order."""

    @abstractmethod
    def forget(self, ids: Ranges, seconds: float) -> Sending:
        """Begin to remove points; nobody asks for them any more."""

    @abstractmethod
    def count(self, seconds: float) -> int:
        """Return how many points are stored."""

    @abstractmethod
    def close(self) -> None:
        """Give up the room and all that is in it."""
