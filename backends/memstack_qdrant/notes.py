"""ClusterNotes: what a store that is kept on a cluster says of itself, as points of a collection of its name."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from qdrant_client.grpc import CollectionsStub, PointsStub
from qdrant_client.grpc import collections_pb2 as collections

from memstack import MemoryUnavailableError
from memstack.store.remote import Insistence
from memstack_qdrant import wire
from memstack_qdrant.address import Address
from memstack_qdrant.cluster import Call, Update, channel_to

PAGE = 4096
"""Notes that are asked for together."""


class ClusterNotes:
    """Lines by their numbers. What was sent and whose answer was lost is sent again, under the same numbers."""

    def __init__(self, at: Address, key: str | None, name: str, insistence: Insistence) -> None:
        self._where, self._name, self._insistence = at.target, name, insistence
        self._metadata = () if key is None else (("api-key", key),)
        self._channel = channel_to(at)
        self._points: Any = PointsStub(self._channel)
        self._collections: Any = CollectionsStub(self._channel)
        self._count = 0

    def read(self) -> list[str]:
        """Return all lines; none where there is no such collection."""
        request = collections.CollectionExistsRequest(collection_name=self._name)
        self._count, lines = 0, list[str]()
        if not self._insist(partial(self._ask, self._collections.CollectionExists, request)).result.exists:
            return lines
        while len(lines) == self._count:
            page = self._insist(partial(self._page, range(self._count, self._count + PAGE)))
            lines += page
            self._count += PAGE
        self._count = len(lines)
        return lines

    def append(self, lines: Sequence[str]) -> None:
        """Add lines, to a collection that is made if it is not there."""
        if not self._count:
            self._insist(self._make)
        self._insist(partial(self._send, lines))
        self._count += len(lines)

    def _page(self, numbers: range, seconds: float) -> list[str]:
        """The lines of these numbers, as far as there are any."""
        answer = self._ask(self._points.Get, wire.get_notes(self._name, numbers, seconds), seconds)
        found = {point.id.num: point.payload[wire.NOTE].string_value for point in answer.result}
        if set(found) != set(numbers[: len(found)]):
            raise MemoryUnavailableError(f"notes of the store {self._name} at {self._where} are missing: build it anew")
        return [found[number] for number in numbers[: len(found)]]

    def _make(self, seconds: float) -> None:
        try:
            self._ask(self._collections.Create, wire.notes(self._name, seconds), seconds)
        except MemoryUnavailableError:
            exists = collections.CollectionExistsRequest(collection_name=self._name)
            if not self._ask(self._collections.CollectionExists, exists, seconds).result.exists:
                raise

    def _send(self, lines: Sequence[str], seconds: float) -> None:
        for begin in range(0, len(lines), PAGE):
            part = lines[begin : begin + PAGE]
            order = wire.upsert_notes(self._name, self._count + begin, part, seconds)
            Update(self._call(self._points.Upsert, order, seconds), self._where).result()

    def _ask(self, method: Any, request: Any, seconds: float) -> Any:
        return self._call(method, request, seconds).result()

    def _call(self, method: Any, request: Any, seconds: float) -> Call:
        return Call(method.future(request, timeout=seconds, metadata=self._metadata), self._where)

    def _insist(self, attempt: Callable[[float], Any]) -> Any:
        return self._insistence.insist(attempt, self._insistence.timeout, lambda: 0)
