"""EmbeddedStore: Qdrant Edge, the engine of a cluster's nodes as a library, in a folder of this machine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

from memstack import MemoryShape, MemoryUnavailableError
from memstack.store.remote import Array, Asked, Found, Points, Ranges, RemoteStore
from memstack_qdrant.folders import KeptFolder, OwnFolder
from memstack_qdrant.graph import Graph

AT = "at"
"""The payload that repeats an id: the engine finds ranges of payloads, not of ids."""
VECTORS = ("key", "value")
DATATYPES = {"float32": "Float32", "float16": "Float16"}
NEVER = 1 << 30
"""Kilobytes from which on a graph would be built."""
VACUUM = 1000
"""Points that have to be forgotten before their room is given back, at least."""


class EmbeddedStore(RemoteStore):
    """A shard in a folder of its own, or in one that is kept. Every call is done when it returns."""

    def __init__(
        self, parent: Path, shape: MemoryShape, dtype: str, graph: Graph | None, kept: str | None = None
    ) -> None:
        self.kept = kept is not None
        self._folder = OwnFolder(parent) if kept is None else KeptFolder(parent, kept)
        self.where = str(self._folder.path)
        self._shape, self._dtype, self._graph = shape, dtype, graph
        self._gone = self._new = 0
        self._shard: Any = None

    def open(self, seconds: float) -> None:
        place, config = self._folder.path / "shard", self._config()
        try:
            if isinstance(self._folder, KeptFolder):
                self._folder.make(place, lambda aside: edge.EdgeShard.create(str(aside), config).close())
                self._shard = edge.EdgeShard.load(str(place), config)
            else:
                self._shard = edge.EdgeShard.create(str(place), config)
        except Exception as error:
            raise _refused(self.where, error) from error
        self._update(edge.UpdateOperation.create_field_index(AT, edge.PayloadSchemaType.Integer))

    def send(self, points: Points, seconds: float) -> "Done":
        keys, values = points.keys.tolist(), points.values.tolist()
        made = [
            edge.Point(name, {"key": key, "value": value}, {AT: name})
            for name, key, value in zip(points.ids.tolist(), keys, values, strict=True)
        ]
        self._update(edge.UpdateOperation.upsert_points(made))
        self._new += len(made)
        if self._graph is not None and self._new > max(self._graph.entries, self.count(seconds) / 3):
            self._tidy()
        return Done()

    def search(
        self, asked: Sequence[Asked], k: int, seconds: float, *, exactly: bool = True, fetch: bool = True
    ) -> Found:
        by_graph = None if exactly else self._graph
        params = edge.SearchParams(exact=by_graph is None, hnsw_ef=by_graph and max(by_graph.ef_search, k))
        along: Any = list(VECTORS) if fetch else False
        requests: list[Any] = []
        for live, queries in asked:
            only = _within(live)
            requests += [
                edge.QueryRequest(
                    limit=k,
                    query=edge.Query.Nearest(query, using="key"),
                    filter=only,
                    params=params,
                    with_vector=along,
                    with_payload=False,
                )
                for query in queries.tolist()
            ]
        try:
            answers = self._shard.query_batch(edge.QueryBatchRequest(requests))
        except Exception as error:
            raise _refused(self.where, error) from error
        ids = [[hit.id for hit in hits] for hits in answers]
        return Found.of_hits(
            ids, k, _vectors([hit for hits in answers for hit in hits], self._shape) if fetch else None
        )

    def fetch(self, ids: Array, seconds: float) -> Points:
        records = self._shard.retrieve(ids.tolist(), False, True)
        return Points(np.array([record.id for record in records], np.int64), *_vectors(records, self._shape))

    def forget(self, ids: Ranges, seconds: float) -> "Done":
        self._update(edge.UpdateOperation.delete_points_by_filter(_within(ids)))
        self._gone += sum(map(len, ids))
        if self._gone > max(VACUUM, self.count(seconds)):
            self._tidy()
        return Done()

    def count(self, seconds: float) -> int:
        return self._shard.count(edge.CountRequest(exact=True))

    def close(self) -> None:
        if self._shard is not None:
            self._shard.close()
        self._folder.remove()

    def _tidy(self) -> None:
        """Have graphs built, and room given back."""
        try:
            self._shard.optimize()
        except Exception as error:
            raise _refused(self.where, error) from error
        self._gone = self._new = 0

    def _config(self) -> Any:
        datatype, graph = getattr(edge.VectorStorageDatatype, DATATYPES[self._dtype]), self._graph
        threshold = NEVER if graph is None else graph.kilobytes(self._shape.key_dim)
        # Nobody searches for values: they get no links.
        key, value = (
            edge.HnswIndexConfig(m=m, ef_construct=graph.ef_construction if graph else 4, full_scan_threshold=threshold)
            for m in (graph.m if graph else 0, 0)
        )
        sizes = zip(VECTORS, (self._shape.key_dim, self._shape.value_dim), (key, value), strict=True)
        vectors = {
            name: edge.EdgeVectorParams(dim, edge.Distance.Dot, datatype=datatype, hnsw_config=links)
            for name, dim, links in sizes
        }
        optimizers = edge.EdgeOptimizersConfig(indexing_threshold=threshold, default_segment_number=1)
        # No log of its own where what is here is gone with the process.
        return edge.EdgeConfig(vectors=vectors, optimizers=optimizers, wal_enabled=self.kept)

    def _update(self, operation: Any) -> None:
        try:
            self._shard.update(operation)
        except Exception as error:
            raise _refused(self.where, error) from error


class Done:
    """What was done when it was begun."""

    def done(self) -> bool:
        return True

    def result(self) -> None:
        """There is nothing to wait for."""


def _within(ranges: Ranges) -> Any:
    return edge.Filter(
        should=[edge.FieldCondition(AT, range=edge.RangeFloat(gte=each.start, lt=each.stop)) for each in ranges]
    )


def _vectors(hits: Sequence[Any], shape: MemoryShape) -> tuple[Array, Array]:
    """The keys and values that came along."""
    sizes = zip(VECTORS, (shape.key_dim, shape.value_dim), strict=True)
    keys, values = (np.array([hit.vector[name] for hit in hits], np.float32).reshape(-1, dim) for name, dim in sizes)
    return keys, values


def _refused(where: str, error: Exception) -> MemoryUnavailableError:
    return MemoryUnavailableError(f"the store at {where} cannot do what it is asked: {error}")
