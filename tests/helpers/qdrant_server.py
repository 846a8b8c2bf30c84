"""A stand-in for a Qdrant server: the cluster's gRPC in front of the server's own storage and search, as a library.

    python tests/helpers/qdrant_server.py FOLDER PORT [KEY]

One process, which tests can kill, stop and start again: what it has acknowledged lies in FOLDER. It knows what
``memstack_qdrant`` asks and no more. As many answers as the file FOLDER/lose says are lost: done, and not told.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import qdrant_edge as edge
from qdrant_client.grpc import collections_pb2 as collections
from qdrant_client.grpc import collections_service_pb2_grpc as collections_service
from qdrant_client.grpc import points_pb2 as points
from qdrant_client.grpc import points_service_pb2_grpc as points_service

LOSE = "lose"
UNBOUNDED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]


class Shards:
    """The collections, a folder each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards = {path.name: edge.EdgeShard.load(str(path)) for path in folder.iterdir() if path.is_dir()}

    def create(self, name: str, config: edge.EdgeConfig) -> None:
        self.shards[name] = edge.EdgeShard.create(str(self.folder / name), config)

    def drop(self, name: str) -> None:
        self.shards.pop(name).close()
        shutil.rmtree(self.folder / name)

    def answer(self, context: Any, answer: Any) -> Any:
        """Give an answer, unless it is one of those to be lost."""
        lose = self.folder / LOSE
        if lose.exists() and (left := int(lose.read_text())):
            lose.write_text(str(left - 1))
            context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
        return answer

    def of(self, request: Any, context: Any) -> edge.EdgeShard:
        if request.collection_name not in self.shards:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Collection `{request.collection_name}` doesn't exist!")
        return self.shards[request.collection_name]


class Collections(collections_service.CollectionsServicer):
    def __init__(self, shards: Shards, key: str) -> None:
        self.shards, self.key = shards, key

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802 - as the protocol calls it
        if self.key and ("api-key", self.key) not in [tuple(pair) for pair in context.invocation_metadata()]:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Must provide an API key")
        if request.collection_name in self.shards.shards:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, "Collection already exists!")
        vectors: dict[str, Any] = {}
        for name, params in request.vectors_config.params_map.map.items():
            assert params.distance == collections.Distance.Dot
            datatype = getattr(edge.VectorStorageDatatype, collections.Datatype.Name(params.datatype))
            given = params.hnsw_config
            links = edge.HnswIndexConfig(given.m, given.ef_construct or 4, given.full_scan_threshold or 1)
            vectors[name] = edge.EdgeVectorParams(params.size, edge.Distance.Dot, datatype=datatype, hnsw_config=links)
        threshold = min(request.optimizers_config.indexing_threshold, 1 << 30)
        optimizers = edge.EdgeOptimizersConfig(indexing_threshold=threshold, default_segment_number=1)
        self.shards.create(request.collection_name, edge.EdgeConfig(vectors=vectors, optimizers=optimizers))
        return self.shards.answer(context, collections.CollectionOperationResponse(result=True))

    def CollectionExists(self, request: Any, context: Any) -> Any:  # noqa: N802
        exists = request.collection_name in self.shards.shards
        return collections.CollectionExistsResponse(result=collections.CollectionExists(exists=exists))

    def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.shards.of(request, context)
        config = json.loads((self.shards.folder / request.collection_name / "edge_config.json").read_text())
        sizes = {name: collections.VectorParams(size=params["size"]) for name, params in config["vectors"].items()}
        answer = collections.GetCollectionInfoResponse()
        answer.result.config.params.vectors_config.params_map.CopyFrom(collections.VectorParamsMap(map=sizes))
        return answer

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.shards.of(request, context)
        self.shards.drop(request.collection_name)
        return collections.CollectionOperationResponse(result=True)


class Points(points_service.PointsServicer):
    def __init__(self, shards: Shards) -> None:
        self.shards = shards

    def CreateFieldIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        operation = edge.UpdateOperation.create_field_index(request.field_name, edge.PayloadSchemaType.Integer)
        return self.updated(request, context, operation)

    def Upsert(self, request: Any, context: Any) -> Any:  # noqa: N802
        made = [
            edge.Point(
                each.id.num,
                {name: list(vector.dense.data) for name, vector in each.vectors.vectors.vectors.items()},
                {name: getattr(value, str(value.WhichOneof("kind"))) for name, value in each.payload.items()},
            )
            for each in request.points
        ]
        return self.updated(request, context, edge.UpdateOperation.upsert_points(made))

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self.updated(request, context, edge.UpdateOperation.delete_points_by_filter(only(request.points.filter)))

    def QueryBatch(self, request: Any, context: Any) -> Any:  # noqa: N802
        shard = self.shards.of(request, context)
        answers = shard.query_batch(edge.QueryBatchRequest([question(each) for each in request.query_points]))
        result = [points.BatchResult(result=[scored(hit) for hit in hits]) for hits in answers]
        return self.shards.answer(context, points.QueryBatchResponse(result=result))

    def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        along = request.with_payload.enable, request.with_vectors.enable
        records = self.shards.of(request, context).retrieve([each.num for each in request.ids], *along)
        answer = points.GetResponse()
        for record in records:
            fill(answer.result.add(), record)
        return self.shards.answer(context, answer)

    def Count(self, request: Any, context: Any) -> Any:  # noqa: N802
        count = self.shards.of(request, context).count(edge.CountRequest(exact=True))
        return points.CountResponse(result=points.CountResult(count=count))

    def updated(self, request: Any, context: Any, operation: Any) -> Any:
        assert request.wait
        try:
            self.shards.of(request, context).update(operation)
        except ValueError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        result = points.UpdateResult(operation_id=0, status=points.UpdateStatus.Completed)
        return self.shards.answer(context, points.PointsOperationResponse(result=result))


def question(asked: Any) -> Any:
    nearest: Any = edge.Query.Nearest(list(asked.query.nearest.dense.data), using=asked.using)
    return edge.QueryRequest(
        limit=asked.limit,
        query=nearest,
        filter=only(asked.filter),
        params=edge.SearchParams(exact=asked.params.exact, hnsw_ef=asked.params.hnsw_ef or None),
        with_vector=list(asked.with_vectors.include.names) or asked.with_vectors.enable,
        with_payload=False,
    )


def only(asked: Any) -> Any:
    ranges = [each.field for each in asked.should]
    conditions: Sequence[Any] = [
        edge.FieldCondition(each.key, range=edge.RangeFloat(gte=each.range.gte, lt=each.range.lt)) for each in ranges
    ]
    return edge.Filter(should=list(conditions))


def scored(hit: Any) -> Any:
    point = points.ScoredPoint(score=hit.score)
    return fill(point, hit)


def fill(point: Any, stored: Any) -> Any:
    point.id.num = stored.id
    for name, vector in (stored.vector or {}).items():
        point.vectors.vectors.vectors[name].dense.data.extend(vector)
    for name, value in (stored.payload or {}).items():
        if isinstance(value, str):
            point.payload[name].string_value = value
    return point


def serve(folder: Path, port: int, key: str = "") -> None:
    shards = Shards(folder)
    server = grpc.server(ThreadPoolExecutor(1), options=UNBOUNDED)
    points_service.add_PointsServicer_to_server(Points(shards), server)
    collections_service.add_CollectionsServicer_to_server(Collections(shards, key), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    server.wait_for_termination()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
