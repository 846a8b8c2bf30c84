"""The JAX backend: its bucket reduction, what it compiles, and where its keys are, beside the kit in test_contract."""

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

import memstack
from memstack import MemoryShape
from memstack.testing import check_memory
from memstack.testing.assertions import ensure_same_answer
from memstack.testing.harness import Data

jax = pytest.importorskip("jax", reason="pip install 'memstack[jax]'")

from memstack_jax import search  # noqa: E402 - imports jax
from memstack_jax.reduction import bucket_count, bucket_top_k  # noqa: E402
from memstack_jax.search import JaxMemory  # noqa: E402

SHAPE = MemoryShape(rows=3, heads=2, key_dim=8, value_dim=2, capacity=300)
LARGE = MemoryShape(rows=1, heads=2, key_dim=32, value_dim=1, capacity=4096)
NEIGHBOURS = 32
REDUCTIONS = ("native", "buckets")


def make(shape: MemoryShape = SHAPE, **options: Any) -> JaxMemory:
    memory = memstack.create_memory("jax", shape, **options)
    assert isinstance(memory, JaxMemory)
    return memory


def fill(memory: JaxMemory, data: Data, n: int) -> Tensor:
    keys = data.keys(n)
    memory.add(keys, data.values(n))
    return keys


def isotropic(n: int, seed: int) -> Tensor:
    """Unit vectors in random directions."""
    random = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(LARGE.rows, LARGE.heads, n, LARGE.key_dim, generator=random), dim=-1)


def measured_recall(memory: JaxMemory, queries: Tensor) -> float:
    """The share of the true neighbours found; one as good as the last of them counts."""
    worst = memory.search_exactly(queries, NEIGHBOURS).scores[..., -1:]
    return float((memory.search(queries, NEIGHBOURS).scores >= worst).float().mean())


def expected_recall(buckets: int, k: int) -> float:
    """The share of k neighbours in random buckets that are the best of theirs."""
    return buckets / k * (1 - (1 - 1 / buckets) ** k)


@pytest.fixture
def copying(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX's device is taken for another than the store's."""
    monkeypatch.setattr(JaxMemory, "_shares_memory", lambda self: False)


@pytest.fixture(params=["shared", "copied"])
def either_way(request: pytest.FixtureRequest) -> None:
    """With the store read in place, and with a copy of it."""
    if request.param == "copied":
        request.getfixturevalue("copying")


# The reduction ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 100, 128, 129, 256, 300, 1000, 1025, 4096, 10_000, 65_536, 100_000, 1 << 20])
def test_there_are_as_many_buckets_as_xla_makes(n: int) -> None:
    for k in (k for k in (1, 2, 5, 8, 32, 33, 128, 1000) if k <= n):
        for target in (0.01, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99, 0.9999, 1 - 1e-9):
            scores = jax.ShapeDtypeStruct((2, n), "float32")
            reduce = lambda s: jax.lax.approx_max_k(s, k, recall_target=target, aggregate_to_topk=False)  # noqa: B023, E731
            assert bucket_count(n, k, target) == jax.eval_shape(reduce, scores)[0].shape[-1], (n, k, target)


def test_the_best_of_each_strided_bucket_survives() -> None:
    scores = torch.randperm(300, generator=torch.Generator().manual_seed(0)).float()
    buckets = bucket_count(300, 4, 0.5)
    assert buckets == 256
    winners = [max(range(bucket, 300, buckets), key=lambda place: scores[place]) for bucket in range(buckets)]
    best, places = bucket_top_k(jax.numpy.asarray(scores.numpy()), 4, 0.5)
    assert places.tolist() == sorted(winners, key=lambda place: -scores[place])[:4]
    assert best.tolist() == [scores[place] for place in places.tolist()]


@pytest.mark.parametrize("target", [0.3, 0.5, 0.8, 0.9, 0.95])
def test_buckets_find_what_the_formula_says_and_more_than_the_target(target: float) -> None:
    memory = make(LARGE, reduction="buckets", recall_target=target)
    memory.add(isotropic(LARGE.capacity, 1), torch.zeros(1, 2, LARGE.capacity, 1))
    recall = measured_recall(memory, isotropic(512, 2))
    assert target <= recall < 1
    assert recall == pytest.approx(
        expected_recall(bucket_count(LARGE.capacity, NEIGHBOURS, target), NEIGHBOURS), abs=0.01
    )


def test_keys_that_repeat_with_the_period_of_the_buckets_are_found() -> None:
    memory = make(LARGE, reduction="buckets", recall_target=0.5)
    period = bucket_count(LARGE.capacity, NEIGHBOURS, 0.5)
    keys = isotropic(period, 1).repeat(1, 1, LARGE.capacity // period, 1)
    memory.add(keys, torch.zeros(1, 2, LARGE.capacity, 1))
    assert measured_recall(memory, keys[:, :, :period]) > 0.8


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_native_is_exact_off_tpus(dtype: str) -> None:
    memory = make(LARGE, dtype=dtype, recall_target=0.1)
    memory.add(isotropic(1000, 1), torch.zeros(1, 2, 1000, 1))
    queries = isotropic(64, 2)
    ensure_same_answer("native", memory.search(queries, NEIGHBOURS), memory.search_exactly(queries, NEIGHBOURS))


# What is proposed -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("k", [1, 7, 200])
def test_proposed_slots_are_live_and_none_comes_twice(reduction: str, k: int) -> None:
    memory, data = make(reduction=reduction, recall_target=0.5), Data(SHAPE)
    fill(memory, data, 200)
    memory.reset(torch.tensor([False, True, False]))
    fill(memory, data, 3)
    memory.reset(torch.tensor([False, False, True]))
    queries = data.queries(5)
    queries[:, :, 2] = torch.nan
    slots = memory.index_search(queries, k)
    assert not bool((slots[:, :, 2] >= 0).any())
    for proposed in slots.flatten(0, 2).tolist():
        found = [slot for slot in proposed if slot >= 0]
        assert len(set(found)) == len(found)
    most = slots.flatten(1).max(1).values
    assert bool((most < memory.lengths).all())
    assert most[2] == -1


def test_small_blocks_of_scores_change_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, data = make(), Data(SHAPE)
    fill(memory, data, 290)
    queries = data.queries(13)
    in_one_block = memory.search(queries, 9)
    for block in (1, 3 * 300):
        monkeypatch.setattr(search, "CPU_BLOCK", block)
        ensure_same_answer(f"blocks of {block}", memory.search(queries, 9), in_one_block)


# What is compiled -------------------------------------------------------------------------------------------------


def compiled(function: Any) -> int:
    """How many programs JAX keeps of a function."""
    return function._cache_size()


def test_a_growing_memory_compiles_few_programs() -> None:
    # A key_dim of its own, so that no other test has compiled what this one counts.
    shape = MemoryShape(rows=2, heads=2, key_dim=5, value_dim=1, capacity=1000)
    memory, data = make(shape), Data(shape)
    before, searches = compiled(search.top_slots), 0
    for chunk in (7, 30, 96, 41, 200, 1, 333, 150, 77, 500):
        fill(memory, data, chunk)
        for q, k in ((1, 1), (5, 30), (7, 32), (8, 25), (6, 17)):
            memory.search(data.queries(q), k)
            searches += 1
    # (1, 1) and (8, 32) for each of 128, 256, 512 and 1000 entries; k of 8 while there are only 7.
    assert compiled(search.top_slots) - before == 9 < searches


@pytest.mark.usefixtures("copying")
def test_adding_to_a_copy_compiles_few_programs() -> None:
    # A key_dim of its own, so that no other test has compiled what this one counts.
    shape = MemoryShape(rows=2, heads=2, key_dim=6, value_dim=1, capacity=1000)
    memory, data = make(shape), Data(shape)
    before = compiled(search.write_keys)
    for chunk in (1, *range(65, 129, 5)):
        fill(memory, data, chunk)
        memory.search(data.queries(1), 1)
    # The whole ring for the first search, then 128 keys.
    assert compiled(search.write_keys) - before == 2


# Where the keys are -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="JAX has found another device than the store's")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_a_store_on_the_same_device_is_read_in_place(dtype: str) -> None:
    memory, data = make(dtype=dtype), Data(SHAPE)
    fill(memory, data, 7)
    read = [part.unsafe_buffer_pointer() for part in memory._keys()]
    assert read == [part.data_ptr() for part in search._parts(memory.stored_keys)]
    assert memory._copy is None


@pytest.mark.usefixtures("copying")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_a_copy_follows_the_store(dtype: str) -> None:
    memory, data = make(dtype=dtype), Data(SHAPE)
    for n in (5, 3, 200, 150, 300, 40):
        fill(memory, data, n)
        memory.reset(torch.tensor([False, n == 150, False]))
        live = torch.arange(SHAPE.capacity) < memory.lengths[:, None]
        for copied, stored in zip(memory._keys(), search._parts(memory.stored_keys), strict=True):
            held = torch.from_dlpack(copied)
            assert held.dtype == stored.dtype
            assert held.data_ptr() != stored.data_ptr()
            assert torch.equal(held.transpose(1, 2)[live], stored.transpose(1, 2)[live])


@pytest.mark.usefixtures("copying")
def test_a_copy_written_in_the_background_keeps_the_promises_about_what_is_stored() -> None:
    options = {"overlap": True, "dtype": "bfloat16"}
    promises = {
        "test_what_is_added_is_copied",
        "test_a_reset_row_is_as_new",
        "test_modes",
        "test_recall_after_a_reset",
        "test_any_sequence_of_steps",
    }
    report = check_memory("jax", options, only=promises)
    assert report.passed, str(report)


@pytest.mark.usefixtures("copying")
def test_a_copy_that_could_not_be_written_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, data = make(), Data(SHAPE)
    fill(memory, data, 20)
    queries = data.queries(4)
    before = memory.search(queries, 5)

    def fails(*given: object) -> None:
        raise RuntimeError("the device is full")

    with monkeypatch.context() as patch:
        patch.setattr(search, "write_keys", fails)
        with pytest.raises(RuntimeError, match="the device is full"):
            fill(memory, data, 20)
    ensure_same_answer("after a failed add", memory.search(queries, 5), before)


# What it leaves alone ---------------------------------------------------------------------------------------------


def test_importing_the_plugin_does_not_import_jax() -> None:
    program = "import sys, memstack, memstack_jax; memstack.backends(); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.usefixtures("either_way")
def test_a_memory_changes_neither_configuration_nor_environment() -> None:
    configuration, environment = dict(jax.config.values), dict(os.environ)
    memory, data = make(), Data(SHAPE)
    fill(memory, data, 5)
    assert memory.search(data.queries(2), 2).mask.all()
    assert dict(jax.config.values) == configuration
    assert dict(os.environ) == environment
