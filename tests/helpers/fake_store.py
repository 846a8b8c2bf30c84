"""A remote store that is a dictionary, and does what a test tells it: fail, lose answers, come late, hold back."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from memstack import MemoryShape, MemoryUnavailableError, RemoteMemory, UnreachableError
from memstack.store.remote import Array, Asked, Found, Points, Ranges, RemoteStore


class FakeStore(RemoteStore):
    where = "nowhere"

    def __init__(self) -> None:
        self.held: dict[int, tuple[Array, Array]] = {}
        self.failing = self.losing = 0
        """So many of the next requests are not done; are done, and nobody hears of it."""
        self.forgetful = True
        """False holds back what was to be forgotten."""
        self.refusing = self.open_ = self.closed = False
        self.sent: list[Points] = []
        self.seconds: list[float] = []
        self.batches: list[int] = []

    def open(self, seconds: float) -> None:
        self._request(seconds)
        self.open_ = True

    def send(self, points: Points, seconds: float) -> "Later":
        self.sent.append(points)
        return Later(lambda: self._request(seconds), lambda: self._store(points), self._answer)

    def search(
        self, asked: Sequence[Asked], k: int, seconds: float, *, exactly: bool = True, fetch: bool = True
    ) -> Found:
        self._request(seconds)
        self.batches.append(sum(len(each.queries) for each in asked))
        names, keys, values = self._arrays()
        parts = [_nearest(live, queries, k, names, keys, values) for live, queries in asked]
        self._answer()
        return Found(*map(np.concatenate, zip(*parts, strict=True)))

    def fetch(self, ids: Array, seconds: float) -> Points:
        self._request(seconds)
        names, keys, values = self._arrays()
        chosen = np.isin(names, ids)
        return Points(names[chosen], keys[chosen], values[chosen])

    def forget(self, ids: Ranges, seconds: float) -> "Later":
        return Later(lambda: self._request(seconds), lambda: self._forget(ids), self._answer)

    def count(self, seconds: float) -> int:
        return len(self.held)

    def close(self) -> None:
        self.closed = True

    def _store(self, points: Points) -> None:
        # Few lines, for the kit interrupts at lines.
        pairs = zip(points.keys.copy(), points.values.copy(), strict=True)
        self.held.update(zip(points.ids.tolist(), pairs, strict=True))

    def _forget(self, ids: Ranges) -> None:
        names = np.fromiter(self.held, np.int64, len(self.held))
        doomed = names[_within(names, ids)] if self.forgetful else names[:0]
        list(map(self.held.pop, doomed.tolist()))

    def _arrays(self) -> tuple[Array, Array, Array]:
        names = np.fromiter(self.held, np.int64, len(self.held))
        keys, values = (list(map(itemgetter(part), self.held.values())) for part in (0, 1))
        return names, np.array(keys, np.float32), np.array(values, np.float32)

    def _request(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if self.refusing:
            raise MemoryUnavailableError("the store at nowhere refused a request")
        if self.failing:
            self.failing -= 1
            raise UnreachableError("the store at nowhere is away")

    def _answer(self) -> None:
        if self.losing:
            self.losing -= 1
            raise UnreachableError("the answer was lost")


def _within(names: Array, ranges: Ranges) -> Array:
    return np.any([(names >= each.start) & (names < each.stop) for each in ranges], axis=0)


def _nearest(live: Ranges, queries: Array, k: int, names: Array, keys: Array, values: Array) -> Found:
    chosen = np.flatnonzero(_within(names, live))
    found = np.full((len(queries), k), -1, np.int64)
    brought = [np.zeros((len(queries), k, part.shape[-1]), np.float32) for part in (keys, values)]
    if m := min(k, len(chosen)):
        best = chosen[np.argsort(-(queries @ keys[chosen].T), axis=1, kind="stable")[:, :k]]
        found[:, :m], brought[0][:, :m], brought[1][:, :m] = names[best], keys[best], values[best]
    return Found(found, *brought)


class Later:
    """What is done when somebody waits for it."""

    def __init__(self, *steps: Any) -> None:
        self.steps = steps

    def done(self) -> bool:
        return True

    def result(self) -> None:
        for step in self.steps:
            step()


class FakeMemory(RemoteMemory):
    """Over a dictionary."""

    exact = True

    @classmethod
    def connect(cls, shape: MemoryShape, options: Any) -> FakeStore:
        return FakeStore()


def store_of(memory: Any) -> Any:
    """The store of a remote memory."""
    return vars(memory)["_RemoteMemory__ledger"].store
