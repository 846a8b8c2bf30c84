"""Every bundled backend in other processes: forked while torch has used all its threads, forked at work, spawned."""

import os
import threading
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.scan_memory import SHAPE, Scan, ScanMemory, entries, same_as_exact
from helpers.variants import variants

from memstack import ForkError, Memory, MemoryShape, create_memory
from memstack.plugins.registry import registry
from memstack.testing.processes import in_a_fork

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
OURS = [offer.spec for offer in registry().offers() if offer.distribution.startswith("memstack ")]
BACKENDS = [spec.name for spec in OURS if not spec.needs_options]
NO_FORKS = {"jax"}
"""Those whose libraries cannot be used in a forked process."""
LARGE = MemoryShape(rows=2, heads=2, key_dim=64, value_dim=8, capacity=2048)


def filled(name: str, **options: Any) -> Memory:
    """A memory so large that torch and the libraries work on it with all their threads; it has been searched."""
    if missing := registry().spec(name).missing():
        pytest.skip(f"{name} needs {', '.join(missing)}")
    memory = create_memory(name, LARGE, **options)
    for _ in range(3):
        give(memory)
    ask(memory)
    return memory


def give(memory: Memory) -> None:
    """Add so many entries that the indexes are trained and torch copies in parallel."""
    memory.add(torch.randn(2, 2, 1024, 64), torch.randn(2, 2, 1024, 8))


def ask(memory: Memory) -> None:
    """Ask so much that all threads are used; what is found is what is stored."""
    queries = torch.randn(2, 2, 256, 64)
    found = memory.search(queries, 8)
    truth = torch.einsum("rhqkd,rhqd->rhqk", found.keys, queries)
    # An approximate search may find fewer; what it has found is right.
    torch.testing.assert_close(found.scores.masked_fill(~found.mask, 0), truth.masked_fill(~found.mask, 0))
    assert found.mask.float().mean() >= (1.0 if memory.exact else 0.9)
    assert (torch.ones(512, 512) @ torch.ones(512, 512)).sum() == 512**3


def go_on(memory: Memory) -> None:
    ask(memory)
    give(memory)
    ask(memory)


@pytest.fixture
def two_threads() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("overlap", variants([False, True], [True]))
@pytest.mark.parametrize("name", BACKENDS)
def test_a_forked_process_goes_on_where_its_parent_used_many_threads(
    name: str, overlap: bool, two_threads: None
) -> None:
    memory = filled(name, overlap=overlap)
    if overlap:
        give(memory)  # is under way when the process is forked
    assert in_a_fork(lambda: go_on(memory), 60) == ""
    go_on(memory)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("name", BACKENDS)
def test_only_what_cannot_be_helped_is_refused(name: str) -> None:
    memory = filled(name)

    def refused() -> None:
        with pytest.raises(ForkError, match="spawn"):
            ask(memory)

    assert in_a_fork(refused if name in NO_FORKS else lambda: ask(memory), 60) == ""


def test_a_memory_in_files_is_refused_where_both_would_write(tmp_path: Path) -> None:
    memory = filled("exact", folder=tmp_path)
    before = memory.state_dict()

    def refused() -> None:
        for asked in (lambda: give(memory), lambda: ask(memory), memory.state_dict):
            with pytest.raises(ForkError, match=r"lies in files of .*, which a forked process cannot have for itself"):
                asked()

    assert in_a_fork(refused) == ""
    assert all(torch.equal(part, before[name]) for name, part in memory.state_dict().items())


def test_an_add_that_fails_before_a_fork_is_told_in_both_processes() -> None:
    memory = ScanMemory(SHAPE, overlap=True)
    memory.failing.set()
    memory.add(*entries(12))

    def told() -> None:
        with pytest.raises(RuntimeError, match="the library has failed"):
            memory.search(torch.zeros(2, 2, 1, 4), 2)

    assert in_a_fork(told) == ""
    told()


def test_indexes_at_work_while_another_thread_forks_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock of theirs may be held for ever: the forked process searches exactly until it builds others."""
    memory = ScanMemory(SHAPE)
    memory.add(*entries(12))
    at_work, go = threading.Event(), threading.Event()
    search = Scan.search

    def slow(self: Scan, queries: Any, k: int) -> Any:
        at_work.set()
        assert go.wait(60)
        return search(self, queries, k)

    monkeypatch.setattr(Scan, "search", slow)
    asking = threading.Thread(target=lambda: memory.search(torch.zeros(2, 2, 1, 4), 2))
    asking.start()
    assert at_work.wait(60)

    def others() -> None:
        go.set()
        assert same_as_exact(memory)
        assert memory.indexes == []
        memory.add(*entries(1, seed=1))
        assert len(memory.indexes) == 4
        assert same_as_exact(memory)

    assert in_a_fork(others) == ""
    go.set()
    asking.join()
    assert len(memory.indexes) == 4


def test_a_process_that_hangs_is_ended() -> None:
    start = time.monotonic()
    assert in_a_fork(lambda: time.sleep(60), 0.2) == "it hangs: nothing came within 0 s"
    assert time.monotonic() - start < 30


def changes(memory: Memory) -> None:
    memory.reset()
    memory.add(torch.ones(2, 2, 5, 4), torch.ones(2, 2, 5, 2))


def test_a_spawned_process_cannot_write_to_the_memory_it_was_given_a_copy_of() -> None:
    """torch would have the two processes share every tensor that is sent."""
    memory = create_memory("bucketed", SHAPE)
    memory.add(*entries(12))
    before = memory.state_dict()
    process = get_context("spawn").Process(target=changes, args=(memory,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert all(torch.equal(part, before[name]) for name, part in memory.state_dict().items())
