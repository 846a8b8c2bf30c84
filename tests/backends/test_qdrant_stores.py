"""Stores that Qdrant keeps, on a server and in a folder: filled, cut off, killed, gone on with, read by many."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from memstack import ConfigError, CopyError, MemoryShape, MemoryUnavailableError, ShapeError, StateError, create_memory
from memstack.plugins.config import StoreConfig
from memstack.plugins.registry import registry
from memstack.wrappers.common import Header, OpenStore, StoreBuilder, building, open_store

if missing := registry().spec("qdrant").missing():
    pytest.skip(f"qdrant needs {', '.join(missing)}", allow_module_level=True)

from helpers.stand_in import StandIn
from helpers.toy_store import HEADER, LAYERS, PIECE, CutError, parts_of, read_into

DOCUMENTS = {"a": 7, "b": 40, "c": 0, "d": 3, "e": 25}
ENTRIES = sum(DOCUMENTS.values())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    server = StandIn(tmp_path_factory.mktemp("qdrant"))
    yield server
    server.kill()


@pytest.fixture(params=["server", "folder"])
def place(request: pytest.FixtureRequest, server: StandIn, tmp_path: Path) -> str:
    """A store of this test's own: a collection's url, or a folder."""
    name = "".join(each for each in request.node.name if each.isalnum())
    return f"{server.url}/{name}" if request.param == "server" else str(tmp_path / "store")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "PIECE", PIECE)


def fill(place: str, stop: int = -1, header: Header = HEADER, documents: dict[str, int] = DOCUMENTS) -> list[str]:
    """Fill a store, cut off at segment ``stop``; returns the documents that were not there."""
    with StoreBuilder(place, header, "qdrant", {"patience": 8}) as builder:
        read = read_into(builder, documents, stop)
        builder.finish()
    return read


def opened(place: str, digest: str = HEADER.digest, **more: Any) -> OpenStore:
    return open_store(StoreConfig(place=place, **more), digest, "exact", {"dtype": "bfloat16"})


def contents(store: OpenStore, layer: int) -> tuple[Tensor, Tensor]:
    state = store.memories[layer].state_dict()
    return state["keys"][0], state["values"][0]


def ensure_whole(store: OpenStore) -> None:
    for layer in LAYERS:
        expected = [parts_of(name, 0, n)[layer] for name, n in DOCUMENTS.items()]
        for which, found in enumerate(contents(store, layer)):
            assert torch.equal(found, torch.cat([each[which] for each in expected], 1))


def test_a_store_outlives_what_filled_it_and_is_read_by_rows(place: str) -> None:
    assert fill(place) == [*DOCUMENTS]
    store = opened(place)
    ensure_whole(store)
    own = create_memory("exact", MemoryShape(rows=2, heads=2, key_dim=8, value_dim=6, capacity=8))
    memory = store.beside(1, own)
    wanted = parts_of("e", 11, 1)[1][0]
    found = memory.search(wanted[None].expand(2, -1, -1, -1), 3)
    assert {store.source(position) for position in found.positions[..., 0].flatten().tolist()} == {("e", 11)}
    exact = create_memory("exact", MemoryShape(rows=1, heads=2, key_dim=8, value_dim=6, capacity=ENTRIES))
    exact.add(*(torch.cat([parts_of(name, 0, n)[1][i] for name, n in DOCUMENTS.items()], 1)[None] for i in (0, 1)))
    queries = torch.randn(2, 4, 5, 8)
    for row in (0, 1):
        expected = exact.search(queries[row : row + 1], 9)
        answer = memory.search(queries, 9)
        assert torch.equal(answer.positions[row], expected.positions[0])
        torch.testing.assert_close(answer.keys[row], expected.keys[0])
    del store, memory, own
    assert fill(place) == []


@pytest.mark.parametrize("stop", [2, 6, 9, 13])
def test_cut_off_anywhere_it_comes_to_the_same_entries(place: str, stop: int) -> None:
    for at in (stop, 3):
        with pytest.raises(CutError):
            fill(place, at)
    with pytest.raises(StateError, match="is not finished"):
        opened(place)
    fill(place)
    ensure_whole(opened(place))


def test_a_server_that_is_killed_has_what_it_acknowledged(tmp_path: Path) -> None:
    server = StandIn(tmp_path)
    try:
        place = f"{server.url}/books"
        with pytest.raises(CutError):
            fill(place, 9)
        server.kill()
        server.start()
        server.lose(3)
        fill(place)
        server.kill()
        server.start()
        ensure_whole(opened(place))
    finally:
        server.kill()


def test_a_store_that_does_not_fit_is_refused(place: str) -> None:
    with pytest.raises(StateError, match="there is no store in"):
        opened(place)
    fill(place)
    with pytest.raises(StateError, match="keys of another model, toy"):
        opened(place, "e" * 64)
    with pytest.raises(StateError, match="begun with other layers"):
        fill(place, header=HEADER.model_copy(update={"layers": {1: LAYERS[1]}}))
    with pytest.raises(ConfigError, match="backend 'exact' keeps nothing beyond its process"):
        opened(place, backend="exact")


def test_a_collection_of_other_vectors_is_refused(server: StandIn) -> None:
    shape = MemoryShape(rows=1, heads=2, key_dim=8, value_dim=6, capacity=64)
    kept: Any = create_memory("qdrant", shape, url=server.url, kept="vectors")
    kept.add(torch.randn(1, 2, 5, 8), torch.randn(1, 2, 5, 6))
    kept.flush()
    del kept
    wider = MemoryShape(rows=1, heads=2, key_dim=9, value_dim=6, capacity=64)
    with pytest.raises(ShapeError, match=r"the collection vectors at .* has vectors of"):
        create_memory("qdrant", wider, url=server.url, kept="vectors")


def test_what_is_kept_is_resumed_and_not_copied(server: StandIn, tmp_path: Path) -> None:
    shape = MemoryShape(rows=2, heads=2, key_dim=8, value_dim=6, capacity=64)
    for where in ({"url": server.url}, {"path": tmp_path}):
        memory: Any = create_memory("qdrant", shape, **where, kept="resumed")
        keys, values = torch.randn(2, 2, 9, 8), torch.randn(2, 2, 9, 6)
        memory.add(keys, values)
        memory.flush()
        assert memory.unsent == 0
        with pytest.raises(CopyError, match="which is kept: open it a second time"):
            copy.deepcopy(memory)
        del memory
        again: Any = create_memory("qdrant", shape, **where, kept="resumed")
        assert again.lengths.tolist() == [0, 0]
        with pytest.raises(MemoryUnavailableError, match=r"36 points are there of 20 x 2 heads"):
            again.resume(10)
        again.resume(7)  # what is beyond is written over
        again.add(keys[:, :, :3], values[:, :, :3])
        assert torch.equal(again.state_dict()["keys"], torch.cat([keys[:, :, :7], keys[:, :, :3]], 2))
        assert again.written.tolist() == [10, 10]
        del again


def test_a_folder_is_open_in_one_process_at_a_time(tmp_path: Path) -> None:
    shape = MemoryShape(rows=1, heads=1, key_dim=4, value_dim=4, capacity=8)
    first = create_memory("qdrant", shape, path=tmp_path, kept="one")
    with pytest.raises(MemoryUnavailableError, match="is open in another process"):
        create_memory("qdrant", shape, path=tmp_path, kept="one")
    del first
    create_memory("qdrant", shape, path=tmp_path, kept="one")


def test_more_documents_than_are_asked_for_at_once_are_noted(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memstack_qdrant.notes.PAGE", 3)
    place = f"{server.url}/many"
    documents = {chr(97 + i): 2 for i in range(8)}
    fill(place, documents=documents)
    assert [each.document for each in opened(place).contents.documents.read] == [*documents]
