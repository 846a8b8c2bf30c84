"""What a cluster is sent and answers, in its protocol's own messages: by the stubs that its client was generated with.

The client's models would check and copy every number once more, at fourteen times the cost.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from qdrant_client.grpc import collections_pb2 as collections
from qdrant_client.grpc import points_pb2 as points
from qdrant_client.grpc import qdrant_common_pb2 as common

from memstack import MemoryShape
from memstack.store.remote import Array, Asked, Found, Points, Ranges
from memstack_qdrant.graph import Graph

AT = "at"
"""The payload that repeats an id: filters know ranges of payloads, not of ids."""
KEY, VALUE, NOTE = "key", "value", "note"
NEVER = 1 << 40
"""Kilobytes from which on a graph would be built."""
STRONG = points.WriteOrdering(type=points.WriteOrderingType.Strong)


def collection(name: str, shape: MemoryShape, dtype: str, graph: Graph | None, seconds: float) -> Any:
    """The order to make a collection. By cosine, which it could be asked for, it would store normalised vectors."""
    datatype = collections.Datatype.Value(dtype.capitalize())
    vectors = {
        each: collections.VectorParams(size=dim, distance=collections.Distance.Dot, datatype=datatype)
        for each, dim in ((KEY, shape.key_dim), (VALUE, shape.value_dim))
    }
    vectors[VALUE].hnsw_config.m = 0  # nobody searches for values
    threshold = NEVER if graph is None else graph.kilobytes(shape.key_dim)
    if graph is not None:
        vectors[KEY].hnsw_config.m, vectors[KEY].hnsw_config.ef_construct = graph.m, graph.ef_construction
        vectors[KEY].hnsw_config.full_scan_threshold = threshold
    return collections.CreateCollection(
        collection_name=name,
        vectors_config=collections.VectorsConfig(params_map=collections.VectorParamsMap(map=vectors)),
        optimizers_config=collections.OptimizersConfigDiff(indexing_threshold=threshold),
        timeout=_whole(seconds),
    )


def notes(name: str, seconds: float) -> Any:
    """The order to make a collection for notes, whose points have vectors of one number that mean nothing."""
    one = collections.VectorParams(size=1, distance=collections.Distance.Dot, datatype=collections.Datatype.Float32)
    vectors = collections.VectorsConfig(params_map=collections.VectorParamsMap(map={KEY: one}))
    return collections.CreateCollection(collection_name=name, vectors_config=vectors, timeout=_whole(seconds))


def upsert_notes(name: str, first: int, lines: Sequence[str], seconds: float) -> Any:
    """The order to store notes under the numbers from ``first`` on."""
    request = points.UpsertPoints(collection_name=name, wait=True, ordering=STRONG, timeout=_whole(seconds))
    for number, line in enumerate(lines, first):
        point = request.points.add()
        point.id.num = number
        point.payload[NOTE].string_value = line
        point.vectors.vectors.vectors[KEY].dense.data.append(0.0)
    return request


def get_notes(name: str, numbers: range, seconds: float) -> Any:
    """The order to send notes back."""
    request = points.GetPoints(collection_name=name, timeout=_whole(seconds))
    request.ids.extend(common.PointId(num=number) for number in numbers)
    request.with_payload.enable = True
    request.with_vectors.enable = False
    return request


def payload_index(name: str) -> Any:
    """The order to keep ids in order."""
    params = collections.IntegerIndexParams(lookup=False, range=True)
    return points.CreateFieldIndexCollection(
        collection_name=name,
        wait=True,
        field_name=AT,
        field_type=points.FieldType.FieldTypeInteger,
        field_index_params=collections.PayloadIndexParams(integer_index_params=params),
    )


def upsert(name: str, sent: Points, seconds: float) -> Any:
    """The order to store points; it is done when they can be found."""
    request = points.UpsertPoints(collection_name=name, wait=True, ordering=STRONG, timeout=_whole(seconds))
    for number, key, value in zip(sent.ids.tolist(), sent.keys.tolist(), sent.values.tolist(), strict=True):
        point = request.points.add()
        point.id.num = number
        point.payload[AT].integer_value = number
        vectors = point.vectors.vectors.vectors
        vectors[KEY].dense.data.extend(key)
        vectors[VALUE].dense.data.extend(value)
    return request


def query_batch(name: str, asked: Sequence[Asked], k: int, seconds: float, graph: Graph | None, fetch: bool) -> Any:
    """The questions, each with the ids among which an answer is looked for: by a graph, or by looking at all."""
    params = points.SearchParams(exact=True) if graph is None else points.SearchParams(hnsw_ef=max(graph.ef_search, k))
    request = points.QueryBatchPoints(collection_name=name, timeout=_whole(seconds))
    for live, queries in asked:
        form = points.QueryPoints(
            collection_name=name,
            using=KEY,
            filter=_within(live),
            limit=k,
            params=params,
            with_payload=points.WithPayloadSelector(enable=False),
        )
        form.with_vectors.include.names.extend([KEY, VALUE] if fetch else [])
        for query in queries.tolist():
            one = request.query_points.add()
            one.CopyFrom(form)
            one.query.nearest.dense.data.extend(query)
    return request


def get(name: str, ids: Array, seconds: float) -> Any:
    """The order to send points back."""
    request = points.GetPoints(collection_name=name, timeout=_whole(seconds))
    request.ids.extend(common.PointId(num=number) for number in ids.tolist())
    request.with_payload.enable = False
    request.with_vectors.enable = True
    return request


def delete(name: str, ids: Ranges, seconds: float) -> Any:
    """The order to remove points."""
    selector = points.PointsSelector(filter=_within(ids))
    return points.DeletePoints(
        collection_name=name, wait=True, points=selector, ordering=STRONG, timeout=_whole(seconds)
    )


def found(answer: Any, k: int, shape: MemoryShape | None) -> Found:
    """Put the hits of a batch into arrays, k columns a query; with their vectors where a shape is given."""
    ids = [[hit.id.num for hit in batch.result] for batch in answer.result]
    hits = (hit for batch in answer.result for hit in batch.result)
    return Found.of_hits(ids, k, None if shape is None else _vectors(hits, shape))


def fetched(answer: Any, shape: MemoryShape) -> Points:
    """Put points that were sent back into arrays."""
    ids = np.array([point.id.num for point in answer.result], np.int64)
    return Points(ids, *_vectors(answer.result, shape))


def _vectors(hits: Iterable[Any], shape: MemoryShape) -> tuple[Array, Array]:
    keys: list[bytes] = []
    values: list[bytes] = []
    for hit in hits:
        vectors = hit.vectors.vectors.vectors
        keys.append(_numbers(vectors[KEY], shape.key_dim))
        values.append(_numbers(vectors[VALUE], shape.value_dim))
    joined = ((keys, shape.key_dim), (values, shape.value_dim))
    first, second = (np.frombuffer(b"".join(each), "<f4").reshape(-1, dim) for each, dim in joined)
    return first, second


def _numbers(vector: Any, dim: int) -> bytes:
    """A vector's numbers as they came: a packed field ends with them. One by one they would take four times as long."""
    packed: bytes = vector.dense.SerializeToString()[-4 * dim :]
    # Servers before 1.16 know only an older field.
    return packed if len(packed) == 4 * dim else np.array(vector.data, "<f4").tobytes()


def _within(ranges: Ranges) -> Any:
    """A filter that any of these ranges of ids passes."""
    fields = (
        common.FieldCondition(key=AT, range=common.Range(gte=float(each.start), lt=float(each.stop))) for each in ranges
    )
    return common.Filter(should=[common.Condition(field=field) for field in fields])


def _whole(seconds: float) -> int:
    """For the server, which counts whole seconds: it need not go on with what nobody waits for any more."""
    return max(1, int(seconds))
