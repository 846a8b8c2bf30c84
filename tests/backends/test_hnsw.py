"""hnsw: no option and no history ends the process, and what a graph keeps of the past is not found."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.variants import variants

from memstack import MemoryShape, OptionsError, ShapeError, create_memory
from memstack.plugins.registry import registry

MISSING = registry().spec("hnsw").missing()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"hnsw needs {', '.join(MISSING)}")
STREAMS = ("random", "shrinking", "growing", "positive", "equal", "hubs")


def keys(stream: str, n: int, dim: int, turn: float, choose: random.Random) -> torch.Tensor:
    """Keys that a graph finds hard to hold together: some are near to all others, for their length."""
    new = torch.randn(1, 1, n, dim)
    if stream == "random":
        return new
    if stream == "equal":
        return torch.ones(1, 1, n, dim) * choose.choice([1, 2])
    lengths = {"shrinking": 0.5**turn, "growing": 2.0**turn, "hubs": choose.choice([1, 1, 1, 100])}
    return new.abs() * lengths.get(stream, 1)


def live(m: int, seed: int) -> None:
    """One memory whose ring goes round five times."""
    choose = random.Random(seed * 1000 + m)
    torch.manual_seed(choose.randrange(1 << 30))
    capacity, dim, stream = choose.choice([8, 20, 64, 200]), choose.choice([1, 2, 8]), choose.choice(STREAMS)
    shape = MemoryShape(rows=1, heads=1, key_dim=dim, value_dim=1, capacity=capacity)
    made = {"ef_construction": choose.choice([1, 5, 40]), "ef_search": choose.choice([1, 10]), "threads": 1}
    memory = create_memory("hnsw", shape, m=m, exact_below=choose.choice([1, 8]), seed=seed, **made)
    given = 0
    while given < 5 * capacity:
        n = choose.choice([1, 2, 5, max(1, capacity // 3), capacity + 3])
        memory.add(keys(stream, n, dim, given / capacity, choose), torch.zeros(1, 1, n, 1))
        given += n
        found = memory.search(torch.randn(1, 1, 2, dim), 5)
        assert bool((found.positions < given).all())


@pytest.mark.parametrize("m", variants([2, 3, 5, 8, 16, 64], [2, 16]))
def test_no_number_of_links_ends_the_process_as_entries_leave(m: int) -> None:
    """hnswlib walks into memory that is not its own where a new node reaches only deleted ones."""
    code = f"from test_hnsw import live\nfor seed in range(40): live({m}, seed)"
    folders = {"PYTHONPATH": ":".join([str(Path(__file__).parent), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, "-c", code], env=folders, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("m", [2, 16])
def test_nodes_that_outlive_their_entries_crowd_nothing_out(m: int) -> None:
    """The upper levels of a graph keep them; a search asks for so many more."""
    shape = MemoryShape(rows=1, heads=2, key_dim=8, value_dim=1, capacity=512)
    memory = create_memory("hnsw", shape, m=m, exact_below=16, ef_search=512)
    for _ in range(9):
        memory.add(torch.randn(1, 2, 100, 8), torch.zeros(1, 2, 100, 1))
    found = memory.search(torch.randn(1, 2, 64, 8), 16)
    assert float(found.mask.float().mean()) > 0.99


@pytest.mark.parametrize("options", [{"m": 1}, {"m": 0}, {"ef_search": 0}, {"ef_search": 1 << 64}, {"threads": 10**6}])
def test_a_number_that_hnswlib_cannot_take_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(OptionsError, match=next(iter(options))):
        create_memory("hnsw", MemoryShape(rows=1, heads=1, key_dim=2, value_dim=1, capacity=4), **options)


def test_more_entries_than_hnswlib_counts_are_refused() -> None:
    with pytest.raises(ShapeError, match="hnswlib counts up to"):
        create_memory("hnsw", MemoryShape(rows=1, heads=1, key_dim=1, value_dim=1, capacity=1 << 30))
