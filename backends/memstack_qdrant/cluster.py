"""ClusterStore: a collection of a Qdrant server or cluster, by gRPC."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import grpc
from qdrant_client.grpc import CollectionsStub, PointsStub
from qdrant_client.grpc import collections_pb2 as collections
from qdrant_client.grpc import points_pb2 as points

from memstack import MemoryShape, MemoryUnavailableError, ShapeError, UnreachableError
from memstack.store.remote import Array, Asked, Found, Points, Ranges, RemoteStore
from memstack_qdrant import wire
from memstack_qdrant.address import Address
from memstack_qdrant.graph import Graph

FINAL = frozenset(
    (
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    )
)
"""What is said of a request that would be refused again; all else may be otherwise at another time."""
CHANNEL = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # By default a channel that lost its server leaves it alone for up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
CLOSING = 5.0
"""Seconds that a memory that is dropped waits for its collection to go."""


class ClusterStore(RemoteStore):
    """A collection with a name that nobody else has, which is removed when this is closed; or one that is kept."""

    def __init__(
        self,
        at: Address,
        key: str | None,
        shape: MemoryShape,
        dtype: str,
        prefix: str,
        graph: Graph | None,
        kept: str | None = None,
    ) -> None:
        self.where, self.kept = at.target, kept is not None
        self._name = kept or f"{prefix}-{os.urandom(8).hex()}"
        self._shape, self._dtype, self._graph = shape, dtype, graph
        self._metadata = () if key is None else (("api-key", key),)
        self._channel = channel_to(at)
        self._points: Any = PointsStub(self._channel)
        self._collections: Any = CollectionsStub(self._channel)

    def open(self, seconds: float) -> None:
        if self.kept and self._exists(seconds):
            self._check(seconds)
        else:
            self._make(seconds)
        self._ask(self._points.CreateFieldIndex, wire.payload_index(self._name), seconds)

    def _make(self, seconds: float) -> None:
        order = wire.collection(self._name, self._shape, self._dtype, self._graph, seconds)
        try:
            self._ask(self._collections.Create, order, seconds)
        except MemoryUnavailableError:
            if not self._exists(seconds):  # as it does after an answer that was lost
                raise

    def send(self, points: Points, seconds: float) -> "Update":
        return Update(self._begin(self._points.Upsert, wire.upsert(self._name, points, seconds), seconds), self.where)

    def search(
        self, asked: Sequence[Asked], k: int, seconds: float, *, exactly: bool = True, fetch: bool = True
    ) -> Found:
        questions = wire.query_batch(self._name, asked, k, seconds, None if exactly else self._graph, fetch)
        answer = self._ask(self._points.QueryBatch, questions, seconds)
        return wire.found(answer, k, self._shape if fetch else None)

    def fetch(self, ids: Array, seconds: float) -> Points:
        return wire.fetched(self._ask(self._points.Get, wire.get(self._name, ids, seconds), seconds), self._shape)

    def forget(self, ids: Ranges, seconds: float) -> "Update":
        return Update(self._begin(self._points.Delete, wire.delete(self._name, ids, seconds), seconds), self.where)

    def count(self, seconds: float) -> int:
        request = points.CountPoints(collection_name=self._name, exact=True)
        return self._ask(self._points.Count, request, seconds).result.count

    def close(self) -> None:
        if self.kept:
            self._channel.close()
            return
        try:
            self._ask(self._collections.Delete, collections.DeleteCollection(collection_name=self._name), CLOSING)
        except (UnreachableError, MemoryUnavailableError) as error:
            left = f"the collection {self._name} is left at {self.where}, for it could not be removed: {error}"
            logging.getLogger(__name__).warning(left)
        finally:
            self._channel.close()

    def _exists(self, seconds: float) -> bool:
        request = collections.CollectionExistsRequest(collection_name=self._name)
        return self._ask(self._collections.CollectionExists, request, seconds).result.exists

    def _check(self, seconds: float) -> None:
        """ShapeError unless the vectors of a collection that was there are those of this memory."""
        request = collections.GetCollectionInfoRequest(collection_name=self._name)
        info = self._ask(self._collections.Get, request, seconds).result
        found = {name: params.size for name, params in info.config.params.vectors_config.params_map.map.items()}
        expected = {wire.KEY: self._shape.key_dim, wire.VALUE: self._shape.value_dim}
        if found != expected:
            raise ShapeError(
                f"the collection {self._name} at {self.where} has vectors of {found} numbers, and {expected} are "
                "expected: choose another name, or remove it"
            )

    def _begin(self, method: Any, request: Any, seconds: float) -> "Call":
        return Call(method.future(request, timeout=seconds, metadata=self._metadata), self.where)

    def _ask(self, method: Any, request: Any, seconds: float) -> Any:
        return self._begin(method, request, seconds).result()


def channel_to(at: Address) -> Any:
    """Open a channel to a server, which connects when it is used."""
    if at.encrypted:
        return grpc.secure_channel(at.target, grpc.ssl_channel_credentials(), CHANNEL)
    return grpc.insecure_channel(at.target, CHANNEL)


class Call:
    """A request that was sent."""

    def __init__(self, future: Any, where: str) -> None:
        self._future, self._where = future, where

    def done(self) -> bool:
        return self._future.done()

    def result(self) -> Any:
        """Wait for the answer; its deadline is the server's and the channel's to keep."""
        try:
            return self._future.result()
        except grpc.RpcError as error:
            raise _said(self._where, error) from error
        except grpc.FutureCancelledError as error:
            raise UnreachableError(f"a request to the cluster at {self._where} was cancelled") from error


class Update:
    """A change that was sent, done once the answer says that it can be seen."""

    def __init__(self, call: Call, where: str) -> None:
        self._call, self._where = call, where

    def done(self) -> bool:
        return self._call.done()

    def result(self) -> None:
        """Wait until it is done: a server that has taken it down and is slow to do it says so."""
        status: Any = self._call.result().result.status
        if status != points.UpdateStatus.Completed:
            name = points.UpdateStatus.Name(status)
            raise UnreachableError(f"the cluster at {self._where} has not done a change in time ({name})")


def _said(where: str, error: Any) -> UnreachableError | MemoryUnavailableError:
    """What a request ended with, as one of memstack's errors, in one line and without any secret."""
    code: grpc.StatusCode = error.code()
    details = " ".join(str(error.details()).split())[:300]
    if code in FINAL:
        return MemoryUnavailableError(f"the cluster at {where} refused a request ({code.name}: {details})")
    return UnreachableError(f"the cluster at {where} did not do what it was asked ({code.name}: {details})")
