"""How much memory there is: the machine's with its swap, or what a control group around the process allows."""

from pathlib import Path

import pytest

from memstack import MemoryShape, ShapeError, create_memory
from memstack.plugins import machine, room
from memstack.store.storage import StoreOptions, new_vectors
from memstack.store.store import Store

KB = 1024


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 1000 kB and 500 kB of swap, whose control groups and process are described in files."""
    (tmp_path / "meminfo").write_text("MemTotal:   1000 kB\nMemFree:  10 kB\nSwapTotal:  500 kB\n")
    for name, path in {"MEMINFO": "meminfo", "GROUPS": "cgroup", "OWN_GROUPS": "own"}.items():
        monkeypatch.setattr(machine, name, tmp_path / path)
    return tmp_path


def write(root: Path, **numbers: object) -> None:
    """Files of the control groups, by path: ``__`` stands for a slash, ``_`` for a point."""
    for name, number in numbers.items():
        path = root / "cgroup" / name.replace("__", "/").replace("memory_", "memory.").replace("swap_", "swap.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n")


def test_a_machine_may_swap(system: Path) -> None:
    assert machine.machine_bytes() == 1500 * KB


def test_a_container_has_what_it_is_allowed_with_the_swap_it_is_allowed(system: Path) -> None:
    write(system, memory_max=400 * KB)
    assert machine.machine_bytes() == 900 * KB
    write(system, memory_swap_max=100 * KB)
    assert machine.machine_bytes() == 500 * KB
    write(system, memory_swap_max="max")
    assert machine.machine_bytes() == 900 * KB
    write(system, memory_max="max")
    assert machine.machine_bytes() == 1500 * KB


def test_a_group_around_the_process_counts_and_another_does_not(system: Path) -> None:
    (system / "own").write_text("0::/batch/job\n")
    write(system, batch__memory_max=300 * KB, batch__memory_swap_max=0, other__memory_max=1 * KB)
    assert machine.machine_bytes() == 300 * KB
    write(system, batch__job__memory_max=200 * KB, batch__job__memory_swap_max=0)
    assert machine.machine_bytes() == 200 * KB


def test_groups_of_the_first_version_count_as_well(system: Path) -> None:
    (system / "own").write_text("7:cpu,cpuacct:/elsewhere\n4:memory:/job\n")
    (system / "cgroup" / "memory" / "job").mkdir(parents=True)
    limits = system / "cgroup" / "memory" / "job"
    (limits / "memory.limit_in_bytes").write_text(str(300 * KB))
    assert machine.machine_bytes() == 800 * KB
    (limits / "memory.memsw.limit_in_bytes").write_text(str(350 * KB))
    assert machine.machine_bytes() == 350 * KB


def test_where_nothing_is_told_the_memory_itself_is_asked_for(system: Path) -> None:
    (system / "meminfo").unlink()
    found = machine.machine_bytes()
    assert found is None or found > 1 << 20


def test_what_is_larger_than_the_group_is_refused(system: Path) -> None:
    write(system, memory_max=100 * KB, memory_swap_max=0)
    shape = MemoryShape(rows=1, heads=1, key_dim=8, value_dim=8, capacity=4096)
    with pytest.raises(ShapeError, match="more than there is"):
        create_memory("exact", shape)
    assert create_memory("exact", shape, dtype="int8").shape == shape


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_the_bytes_of_a_store_are_those_of_its_tensors(dtype: str) -> None:
    shape = MemoryShape(rows=3, heads=2, key_dim=8, value_dim=5, capacity=7)
    options = StoreOptions.model_validate({"dtype": dtype})
    assert room.store_bytes(shape, dtype) == sum(each.nbytes for each in Store(shape, options).numbers())
    assert room.vector_bytes(8, dtype) * 43 == room.store_bytes(shape, dtype) - room.vector_bytes(5, dtype) * 43
    assert len(new_vectors(shape, 8, options).shape) == 2
