"""memstack_qdrant: the kit over its protocol, a server that is killed and stopped, its options, what it leaves behind.

The server is a stand-in: the cluster's protocol in front of its engine. ``MEMSTACK_QDRANT_URL`` names a real one, which
the kit is then asked of as well.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from memstack import MemoryShape, MemoryUnavailableError, OptionsError, create_memory
from memstack.plugins.registry import registry
from memstack.testing import MemoryContract
from memstack.testing.harness import Trial

if missing := registry().spec("qdrant").missing():
    pytest.skip(f"qdrant needs {', '.join(missing)}", allow_module_level=True)

from helpers.faults import Faults, adds_through_faults, stored
from helpers.stand_in import StandIn

SHAPE = MemoryShape(rows=2, heads=2, key_dim=16, value_dim=8, capacity=4096)
SMALL = MemoryShape(rows=3, heads=2, key_dim=8, value_dim=6, capacity=64)
REAL = "MEMSTACK_QDRANT_URL"
KEY = "a key of tests"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """A server of this module's own."""
    server = StandIn(tmp_path_factory.mktemp("qdrant"))
    yield server
    server.kill()


def test_the_protocol_in_short(server: StandIn) -> None:
    """What the kit asks in full, over the cluster's protocol."""
    small: Any = {"graph_from": 64, "ef_search": 256}
    for name, options in (("qdrant", {}), ("qdrant", {"dtype": "float16", "overlap": False}), ("qdrant-graph", small)):
        exact = name == "qdrant"
        trial = Trial(create_memory(name, SMALL, url=server.url, **options), exact)
        assert trial.memory.exact is exact
        for n in (5, 64, 24, 131):
            trial.add(n)
            trial.check(k=9, group=2)
        trial.reset(True, False, False)
        trial.add(3)
        trial.select(1, 0, 0)
        trial.check(k=70)
        trial.check_exactly(trial.data.queries(2), k=70)
        twin = create_memory(name, SMALL, url=server.url, **options)
        twin.load_state_dict(trial.memory.state_dict())
        trial.memory = twin
        trial.check(k=70)


@pytest.mark.long
class TestCluster(MemoryContract):
    backend = "qdrant"

    @pytest.fixture(autouse=True)
    def _at(self, server: StandIn) -> None:
        type(self).options = {"url": server.url}


@pytest.mark.long
@pytest.mark.skipif(REAL not in os.environ, reason=f"{REAL} names no server")
class TestRealCluster(MemoryContract):
    backend = "qdrant"
    options = {"url": os.environ.get(REAL, "")}  # noqa: RUF012


def faulted(server: StandIn, adds: int, faults: Faults, seed: int) -> None:
    patience, timeout = 60.0, 3.0
    memory: Any = create_memory("qdrant", SHAPE, url=server.url, patience=patience, timeout=timeout, pending=4096)
    longest = adds_through_faults(memory, server, adds, faults, seed)
    assert longest < patience + 1
    assert memory.unsent == 0
    assert stored(memory) == adds * 16 * 4
    state = memory.state_dict()
    assert state["written"].tolist() == [adds * 16] * 2


def test_adds_through_kills_stops_and_lost_answers(server: StandIn) -> None:
    faulted(server, 12, Faults(kills=2, stops=1, lost=3, still=(0.5, 1.0)), seed=1)


@pytest.mark.long
def test_200_adds_through_10_kills_5_stops_and_10_lost_answers(server: StandIn) -> None:
    faulted(server, 200, Faults(kills=10, stops=5, lost=10, still=(1.0, 8.0)), seed=2)


def test_calls_end_in_time_while_the_server_stands_still(server: StandIn) -> None:
    """An add that has room at once; one that has none, and a search, within patience and a second."""
    patience = 3.0
    memory: Any = create_memory("qdrant", SMALL, url=server.url, timeout=0.5, patience=patience, pending=100)
    trial = Trial(memory, exact=True)
    trial.add(4)
    trial.check()
    server.stop()
    try:
        assert seconds_of(lambda: trial.add(12)) < 1
        for ask in (lambda: trial.add(6), lambda: memory.search(trial.data.queries(1), 3), memory.state_dict):
            assert patience - 1 < seconds_of(lambda: refused(ask)) < patience + 1  # noqa: B023
            assert memory.unsent == 12 * 6 <= 100
        trial.reset(True, False, False)
    finally:
        server.go_on()
    trial.check()
    trial.add(6)
    trial.check(k=30)


def seconds_of(call: Any) -> float:
    begun = time.monotonic()
    call()
    return time.monotonic() - begun


def refused(ask: Any) -> None:
    with pytest.raises(MemoryUnavailableError, match=r"DEADLINE_EXCEEDED.*72 entries are unsent and kept"):
        ask()


def test_a_resumed_run_finds_what_an_uninterrupted_one_does(server: StandIn) -> None:
    """Client and server are killed after a checkpoint; what the lost steps had added is not there."""
    trial = Trial(create_memory("qdrant", SMALL, url=server.url), exact=True)
    trial.add(70)
    saved = trial.memory.state_dict()
    trial.memory.add(trial.data.keys(9), trial.data.values(9))
    server.kill()
    server.start()
    trial.memory = create_memory("qdrant", SMALL, url=server.url)
    trial.memory.load_state_dict(saved)
    for _ in range(3):
        trial.check(k=70)
        trial.add(11)


def test_a_collection_goes_with_its_memory(server: StandIn) -> None:
    names = {path.name for path in server.folder.iterdir()}
    memory = create_memory("qdrant", SMALL, url=server.url, collection="mine")
    (made,) = {path.name for path in server.folder.iterdir()} - names
    assert made.startswith("mine-")
    del memory
    assert {path.name for path in server.folder.iterdir()} == names


def test_a_key_is_sent_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_OF_TESTS", KEY)
    guarded = StandIn(tmp_path, key=KEY)
    try:
        memory: Any = create_memory("qdrant", SMALL, url=guarded.url, api_key_env="QDRANT_OF_TESTS")
        Trial(memory, exact=True).add(3)
        assert KEY not in str(memory.options) + memory.options.model_dump_json()
        del memory
        with pytest.raises(MemoryUnavailableError, match="UNAUTHENTICATED") as caught:
            create_memory("qdrant", SMALL, url=guarded.url)
        assert KEY not in str(caught.value)
    finally:
        guarded.kill()


def test_a_server_that_is_not_there_is_known_soon() -> None:
    begun = time.monotonic()
    with pytest.raises(MemoryUnavailableError, match=r"cluster at localhost:9.*UNAVAILABLE") as caught:
        create_memory("qdrant", SMALL, url="http://localhost:9", timeout=1)
    assert time.monotonic() - begun < 2
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "give url, of a cluster, or path, a folder on this machine: got neither"),
        ({"url": "http://localhost:6334", "path": "."}, "got both"),
        ({"url": "localhost:6334"}, "'localhost:6334' is none of a server: expected http://HOST:6334"),
        ({"url": "http://"}, "is none of a server"),
        ({"url": "http://host:70000"}, "is none of a server"),
        ({"url": "http://host/collections"}, "is none of a server"),
        ({"url": "http://me:secret@host"}, "a url holds no password"),
        ({"url": "http://host", "api_key_env": "NO_SUCH_VARIABLE"}, "'NO_SUCH_VARIABLE', which is not set or empty"),
        ({"path": ".", "api_key_env": "HOME"}, "api_key_env is for a cluster"),
        ({"path": "no/such/folder"}, "'no/such/folder' is no folder"),
        ({"url": "http://host", "collection": "a/b"}, "collection"),
        ({"path": ".", "patience": 0}, "patience"),
    ],
)
def test_options_that_cannot_be_are_one_clear_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionsError) as caught:
        create_memory("qdrant", SMALL, **options)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


LISTED = """
import sys, memstack
spec = next(spec for spec in memstack.backends() if spec.name == "qdrant")
spec.missing()
loaded = {"grpc", "qdrant_client", "qdrant_edge"} & set(sys.modules)
assert not loaded, loaded
shape = memstack.MemoryShape(rows=1, heads=1, key_dim=2, value_dim=2, capacity=4)
memory = memstack.create_memory("qdrant", shape, path=sys.argv[1])
loaded = {"grpc", "qdrant_client"} & set(sys.modules)
assert not loaded, loaded
"""


def test_nothing_of_it_is_imported_until_it_is_used(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LISTED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys, torch, memstack
shape = memstack.MemoryShape(rows=1, heads=1, key_dim=2, value_dim=2, capacity=4)
memory = memstack.create_memory("qdrant", shape, path=sys.argv[1])
memory.add(torch.ones(1, 1, 3, 2), torch.ones(1, 1, 3, 2))
print("ready", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_left_in_a_folder_the_next_one_removes(tmp_path: Path) -> None:
    line = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        (left,) = tmp_path.iterdir()
        mine = create_memory("qdrant", SMALL, path=str(tmp_path))
        assert left.exists()  # it is in use
        process.kill()
    other = create_memory("qdrant", SMALL, path=str(tmp_path))
    assert not left.exists()
    del mine, other
    assert list(tmp_path.iterdir()) == []


def test_room_of_entries_that_have_left_is_given_back(tmp_path: Path) -> None:
    """A folder does not grow for as long as a memory lives."""
    shape = MemoryShape(rows=1, heads=1, key_dim=8, value_dim=8, capacity=256)
    trial = Trial(create_memory("qdrant", shape, path=str(tmp_path)), exact=True)
    for _ in range(60):
        trial.add(128)
    trial.check(k=300)
    assert stored(trial.memory) <= 256 + 256 // 4 + 128


def test_a_graph_finds_most_of_what_all_entries_hold(tmp_path: Path) -> None:
    """Built while entries come, and again as they leave."""
    shape = MemoryShape(rows=1, heads=1, key_dim=16, value_dim=2, capacity=1500)
    memory: Any = create_memory("qdrant-graph", shape, path=str(tmp_path), graph_from=300, m=8, ef_search=32)
    random = torch.Generator().manual_seed(0)
    for _ in range(12):
        keys = torch.nn.functional.normalize(torch.randn(1, 1, 250, 16, generator=random), dim=-1)
        memory.add(keys, keys[..., :2])
    queries = torch.nn.functional.normalize(torch.randn(1, 1, 100, 16, generator=random), dim=-1)
    found, truth = memory.search(queries, 10), memory.search_exactly(queries, 10)
    recall = (found.scores >= truth.scores[..., -1:] - 1e-5).float().mean()
    assert 0.8 < recall < 1, "either it finds too little, or there is no graph"


def test_queries_beyond_any_bound_are_answered(server: StandIn) -> None:
    memory = create_memory("qdrant", SMALL, url=server.url)
    trial = Trial(memory, exact=True)
    trial.add(10)
    queries = trial.data.queries(3)
    queries[0, 0, 0] = torch.inf
    queries[1, 1, 1] *= 1e38
    found = memory.search(queries, 4)
    assert bool((found.scores.diff(dim=-1).nan_to_num() <= 0).all())
