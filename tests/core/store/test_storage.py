"""Where a store is and how much of it there is: bytes per entry, files without names, and what is refused."""

import copy
import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import memstack
from memstack import IndexedMemory, MemoryShape, OptionsError, Quantised, ShapeError
from memstack.plugins.registry import registry
from memstack.testing.harness import Data

SHAPE = MemoryShape(rows=2, heads=3, key_dim=64, value_dim=32, capacity=500)
BYTES = {"float32": 4 * 96, "float16": 2 * 96, "bfloat16": 2 * 96, "int8": 96 + 4}
NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="mapped files are listed on Linux only")


def tensors(thing: object) -> Iterator[Tensor]:
    """All tensors that are attributes of an object, or of what memstack made and it holds."""
    for part in thing if isinstance(thing, tuple) else vars(thing).values():
        if isinstance(part, Tensor):
            yield part
        elif type(part).__module__.startswith("memstack.store"):
            yield from tensors(part)


def filled(n: int = 700, **options: Any) -> IndexedMemory:
    memory, data = memstack.create_memory("exact", SHAPE, **({"first_pass": "none"} | options)), Data(SHAPE)
    assert isinstance(memory, IndexedMemory)
    memory.add(data.keys(n), data.values(n))
    return memory


def mapped(folder: Path) -> list[str]:
    """The files of a folder that this process has mapped, one line each."""
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line]


@pytest.mark.parametrize("dtype", BYTES)
def test_an_entry_takes_its_key_and_its_value(dtype: str) -> None:
    memory = filled(dtype=dtype)
    memory.search(Data(SHAPE).queries(5), 8)
    entries = SHAPE.rows * SHAPE.heads * SHAPE.capacity
    held = sum(part.untyped_storage().nbytes() for part in tensors(memory))
    assert 1 <= held / entries / BYTES[dtype] <= 1.02


@pytest.mark.parametrize("dtype", BYTES)
def test_a_state_loaded_is_the_state_saved_to_the_bit(dtype: str) -> None:
    state = filled(dtype=dtype).state_dict()
    other = memstack.create_memory("exact", SHAPE, dtype=dtype)
    other.load_state_dict(state)
    loaded = other.state_dict()
    assert state["keys"].dtype == loaded["keys"].dtype == (torch.float32 if dtype == "int8" else getattr(torch, dtype))
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_an_int8_store_scores_the_keys_that_it_holds() -> None:
    memory, queries = filled(dtype="int8"), torch.randn(2, 3, 40, 64, generator=torch.Generator().manual_seed(0))
    found = memory.search(queries, 8)
    assert isinstance(memory.stored_keys, Quantised)
    scores = queries @ memory.stored_keys.to(torch.float32).mT
    torch.testing.assert_close(found.scores, scores.topk(8).values)
    torch.testing.assert_close(found.dot(queries), found.scores)
    assert found.keys.dtype == found.values.dtype == torch.float32


@NEEDS_PROC
@pytest.mark.parametrize("dtype", BYTES)
def test_a_store_in_a_folder_is_files_without_names_that_go_with_it(tmp_path: Path, dtype: str) -> None:
    memory = filled(folder=tmp_path, dtype=dtype)
    assert len(mapped(tmp_path)) == (4 if dtype == "int8" else 2)
    assert list(tmp_path.iterdir()) == []
    expected, queries = filled(dtype=dtype), Data(SHAPE).queries(5)
    assert torch.equal(memory.search(queries, 8).scores, expected.search(queries, 8).scores)
    assert torch.equal(memory.state_dict()["values"], expected.state_dict()["values"])
    other = filled(n=3, folder=tmp_path, dtype=dtype)
    assert memory.lengths.tolist() == [500, 500]
    del memory, other
    gc.collect()
    assert mapped(tmp_path) == []


SMALL = """
import resource, sys
import torch
import memstack

limit = 3 << 28
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
shape = memstack.MemoryShape(rows=1, heads=4, key_dim=64, value_dim=64, capacity=1 << 19)
try:
    memstack.create_memory("exact", shape)
except memstack.ShapeError:
    print("too large for memory")
memory = memstack.create_memory("exact", shape, folder=sys.argv[1])
keys = torch.randn(1, 4, 3000, 64)
memory.add(keys, keys)
print(memory.search(keys[:, :, :9], 1).positions[0, 0, :, 0].tolist())
"""


@NEEDS_PROC
@pytest.mark.parametrize("dtype", BYTES)
def test_a_copy_of_a_store_in_a_folder_has_files_of_its_own(tmp_path: Path, dtype: str) -> None:
    memory = filled(n=3, folder=tmp_path, dtype=dtype)
    files = len(mapped(tmp_path))
    other, before = copy.deepcopy(memory), memory.state_dict()
    assert len(mapped(tmp_path)) == 2 * files
    assert all(torch.equal(part, before[name]) for name, part in other.state_dict().items())
    other.reset()
    other.add(torch.ones(2, 3, 3, 64), torch.ones(2, 3, 3, 32))
    assert all(torch.equal(part, before[name]) for name, part in memory.state_dict().items())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what is not a file's")
def test_a_store_in_a_folder_is_not_in_memory(tmp_path: Path) -> None:
    """1 GB of store in a process that may have 0.75 GB of memory, mapped files apart."""
    printed = subprocess.run([sys.executable, "-c", SMALL, str(tmp_path)], capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines() == ["too large for memory", "[0, 1, 2, 3, 4, 5, 6, 7, 8]"]


def test_a_disk_without_room_is_a_readable_error(tmp_path: Path) -> None:
    shape = MemoryShape(rows=1, heads=1, key_dim=64, value_dim=64, capacity=10**12)
    expected = rf"needs 512,000\.0 GB on {tmp_path} \([\d,.]+ GB are free\): lower capacity"
    with pytest.raises(ShapeError, match=expected):
        memstack.create_memory("exact", shape, folder=tmp_path)


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs a folder in which not even root can make a file")
def test_a_folder_that_cannot_be_written_is_a_readable_error() -> None:
    with pytest.raises(ShapeError, match=r"on /proc \(No such file or directory\)"):
        memstack.create_memory("exact", SHAPE, folder="/proc")


def test_a_folder_that_is_not_there_is_a_readable_error(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match="folder: Path does not point to a directory"):
        memstack.create_memory("exact", SHAPE, folder=tmp_path / "nowhere")


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is available: nothing to refuse")
def test_pinned_without_a_gpu_is_a_readable_error() -> None:
    with pytest.raises(OptionsError, match="CUDA is not available here: leave it out"):
        memstack.create_memory("exact", SHAPE, pinned=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs CUDA")
def test_a_pinned_store_answers_a_gpu() -> None:
    memory, queries = filled(pinned=True), Data(SHAPE).queries(5)
    assert isinstance(memory.stored_keys, Tensor)
    assert memory.stored_keys.is_pinned()
    found, expected = memory.search(queries.cuda(), 8), filled().search(queries, 8)
    assert torch.equal(found.scores.cpu(), expected.scores)
    weights = expected.scores.softmax(-1)
    torch.testing.assert_close(found.mix(weights.cuda()).cpu(), expected.mix(weights))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"device": "meta", "pinned": True}, "pinned is for a store on the CPU, not on meta"),
        ({"device": "meta", "folder": "."}, "folder is for a store on the CPU, not on meta"),
        ({"pinned": True, "folder": "."}, "a store is pinned or in a folder, not both"),
    ],
)
def test_placements_that_exclude_each_other(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(OptionsError, match=reason):
        registry().options("exact", options)
