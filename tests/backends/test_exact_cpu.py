"""Exact search by an 8-bit first pass: it finds what float64 finds, whatever the keys are and whichever its variant.

Those that this processor runs are asked one by one; ARM's, in an emulator, by ``test_exact_on_arm.py``.
"""

import copy
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from helpers.first_pass import FORMS, forced, made
from helpers.hard_keys import DIM, KEYS, MEMORIES, asked_of, random, repeating
from helpers.true_neighbours import assert_true_neighbours
from memstack_exact.cpu import first_pass
from memstack_exact.search import ExactMemory
from torch import Tensor
from torch.nn.functional import normalize

from memstack import MemoryShape, Quantised, create_memory
from memstack.store import Scored, StoreOptions


@pytest.fixture(params=FORMS, autouse=True)
def variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each form of the loop, or why this machine cannot run it."""
    with forced(request.param, monkeypatch) as name:
        yield name


@pytest.mark.parametrize("k", [1, 32])
@pytest.mark.parametrize("n", [1, 15, 160, 5000])
@pytest.mark.parametrize("make", KEYS, ids=lambda make: make.__name__)
def test_it_finds_the_true_neighbours(make: Callable[[int], Tensor], n: int, k: int) -> None:
    keys = make(max(n, 4))[:, :n]
    queries = asked_of(keys)
    found = passed_over(keys, queries, k)
    assert_true_neighbours(keys, queries, found.slots, found.scores, k)
    stored = Quantised.of(keys)
    found = passed_over_codes(stored, queries, k)
    assert_true_neighbours(stored.to(torch.float32), queries, found.slots, found.scores, k)


def passed_over(keys: Tensor, queries: Tensor, k: int) -> Scored:
    """What is found of keys (memories, n, dim), by queries (memories, q, dim)."""
    memories, n, dim = keys.shape
    passed = first_pass.CpuFirstPass(MemoryShape(rows=1, heads=memories, key_dim=dim, value_dim=1, capacity=n))
    passed.write(torch.tensor([0]), torch.arange(n)[None], keys[None])
    found = passed.search(keys[None], torch.tensor([n]), queries[None], k)
    assert found is not None
    return Scored(found.slots[0], found.scores[0])


def passed_over_codes(keys: Quantised, queries: Tensor, k: int) -> Scored:
    """The same of keys that a store keeps in 8 bits."""
    memories, n, dim = keys.shape
    shape = MemoryShape(rows=1, heads=memories, key_dim=dim, value_dim=1, capacity=n)
    passed = first_pass.CpuFirstPass(shape, StoreOptions(dtype="int8"))
    passed.write(torch.tensor([0]), torch.arange(n)[None], keys.to(torch.float32)[None])
    found = passed.search(keys[None], torch.tensor([n]), queries[None], k)
    assert found is not None
    return Scored(found.slots[0], found.scores[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("dim", [1, 2, 7, 15, 33, 130])
def test_widths_that_fill_no_register(dim: int, dtype: torch.dtype) -> None:
    keys, queries = random(2, 500, dim).to(dtype), random(2, 7, dim) + 0.5
    found = passed_over(keys, queries, 8)
    assert_true_neighbours(keys, queries, found.slots, found.scores, 8)
    stored = Quantised.of(keys)
    found = passed_over_codes(stored, queries, 8)
    assert_true_neighbours(stored.to(torch.float32), queries, found.slots, found.scores, 8)


@pytest.mark.parametrize("dim", [2, 16, 61])
def test_sums_of_the_largest_products_lose_nothing(dim: int) -> None:
    """Where all that is multiplied is as large as it can be, with any sign: what is added in 16 bits has to fit."""
    keys = random(MEMORIES, 4000, dim).sign() * (1 + 1e-3 * random(MEMORIES, 4000, 1))
    queries = torch.cat([keys[:, ::500].sign(), -keys[:, 7:8].sign(), torch.ones(MEMORIES, 1, dim)], 1)
    for scale in (1.0, 63.5, 127.0):
        found = passed_over(keys, queries * scale, 4)
        assert_true_neighbours(keys, queries * scale, found.slots, found.scores, 4)
        stored = Quantised.of(keys)
        found = passed_over_codes(stored, queries * scale, 4)
        assert_true_neighbours(stored.to(torch.float32), queries * scale, found.slots, found.scores, 4)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("make", [lambda r: -1e37 * (1 + r), lambda r: 1e36 * r, lambda r: 3e36 * (2 * r - 1)])
def test_rounded_scores_that_overflow_hide_no_true_one(make: Callable[[Tensor], Tensor], seed: int) -> None:
    keys = torch.zeros(1, 1, 1024, DIM)
    keys[..., 0] = make(torch.rand(1024, generator=torch.Generator().manual_seed(seed)))
    keys[:, :, seed::32, 0] = 2.7007e36 * (1 + 0.002 * keys[:, :, seed::32, 0].sign())
    queries = torch.eye(DIM)[None, None, :1]
    passed = first_pass.CpuFirstPass(MemoryShape(rows=1, heads=1, key_dim=DIM, value_dim=1, capacity=1024))
    passed.write(torch.tensor([0]), torch.arange(1024)[None], keys[0, :, None].transpose(0, 1))
    found = passed.search(keys, torch.tensor([1024]), queries, 4)
    assert found is not None
    scores = keys[0, 0, :, 0]
    assert torch.equal(scores[found.slots[0, 0, 0]].sort().values, scores.topk(4).values.sort().values)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_memory_with_it_can_be_copied(dtype: str) -> None:
    memory = made(MemoryShape(rows=1, heads=1, key_dim=8, value_dim=1, capacity=64), first_pass="int8", dtype=dtype)
    memory.add(random(1, 1, 64, 8), random(1, 1, 64, 1))
    queries = random(1, 1, 3, 8)
    assert torch.equal(copy.deepcopy(memory).search(queries, 4).positions, memory.search(queries, 4).positions)


@pytest.mark.parametrize("q", [1, 3, 64, 200])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8"])
def test_a_memory_finds_the_same_with_it_and_without(q: int, dtype: str) -> None:
    """In a ring that has gone round, in rows of different lengths."""
    shape = MemoryShape(rows=3, heads=2, key_dim=20, value_dim=4, capacity=700)
    plain, fast = (create_memory("exact", shape, dtype=dtype, first_pass=name) for name in ("none", "int8"))
    for memory in (plain, fast):
        for n, row in ((400, 0), (500, 1), (300, None)):
            memory.add(random(3, 2, n, 20) * math.sqrt(n), random(3, 2, n, 4))
            if row is not None:
                memory.reset(torch.arange(3) == row)
    queries = random(3, 4, q, 20)
    found, true = fast.search(queries, 16), plain.search(queries, 16)
    torch.testing.assert_close(found.scores, true.scores)
    assert (found.positions == true.positions).float().mean() > 0.99  # the rest tie in few bits


@pytest.fixture
def partly_filled(request: pytest.FixtureRequest) -> ExactMemory:
    """One row that has gone round, one that holds fewer than are asked for."""
    shape = MemoryShape(rows=2, heads=MEMORIES, key_dim=DIM, value_dim=1, capacity=900)
    memory = made(shape, first_pass=request.param, block=2000)
    for n, row in ((950, 0), (20, 2)):
        memory.add(random(2, MEMORIES, n, DIM), random(2, MEMORIES, n, 1))
        memory.reset(torch.arange(2) == row)
    return memory


@pytest.mark.parametrize("partly_filled", ["none"], indirect=True)
@pytest.mark.parametrize("q", [1, 40])
def test_slots_are_proposed_in_order_and_none_twice(partly_filled: ExactMemory, q: int) -> None:
    """Which the store relies on, as ``in_order`` says."""
    slots = partly_filled.index_search(random(2, MEMORIES, q, DIM), 32)
    assert isinstance(slots, Tensor)
    for each in slots.flatten(0, 2):
        live = each[each >= 0]
        assert bool((live[1:] > live[:-1]).all())


@pytest.mark.parametrize("partly_filled", ["int8"], indirect=True)
@pytest.mark.parametrize("q", [1, 40])
def test_scored_slots_come_best_first_and_none_twice(partly_filled: ExactMemory, q: int) -> None:
    """Which the store relies on; a single query's keys are shared out to threads, each with its own best."""
    found = partly_filled.index_search(random(2, MEMORIES, q, DIM), 32)
    assert isinstance(found, Scored)
    assert found.slots.shape == found.scores.shape == (2, MEMORIES, q, 32)
    for slots, scores in zip(found.slots.flatten(0, 2), found.scores.flatten(0, 2), strict=True):
        live = slots >= 0
        assert bool(scores[~live].isneginf().all())
        assert bool((scores[1:] <= scores[:-1]).all())
        assert len(slots[live].unique()) == int(live.sum()) == 20 + 12 * bool((slots >= 20).any())


def test_the_centre_follows_the_keys() -> None:
    """It moves whenever twice as many were written, or a row began anew; what is kept of its keys moves along."""
    memory = made(MemoryShape(rows=2, heads=MEMORIES, key_dim=DIM, value_dim=1, capacity=600), first_pass="int8")
    passed = memory.first_pass
    assert isinstance(passed, first_pass.CpuFirstPass)
    reset = torch.tensor([False, True])
    for place, n, centred in ((50, 500, [500, 500]), (50, 400, [500, 400]), (-50, 900, [1800, 900])):
        memory.add(random(2, MEMORIES, n, DIM) + place, random(2, MEMORIES, n, 1))
        memory.search(random(2, MEMORIES, 1, DIM), 4)
        assert passed._centred.tolist() == centred
        for row in (torch.tensor(centred) == memory.written).nonzero()[:, 0].tolist():
            mean = memory.stored_keys[row, :, : int(memory.lengths[row])].to(torch.float32).mean(1)
            torch.testing.assert_close(passed._centre.view(2, MEMORIES, DIM)[row], mean)
        if place == 50:
            memory.reset(reset)
    assert float(passed._bounds.amax()) < 4 * DIM  # of what lies beyond the centre


def test_ties_fall_alike_whatever_stood_in_the_ring_before() -> None:
    """A run that is saved and resumed writes the ring anew, with other bounds, and finds what it would have found."""
    shape = MemoryShape(rows=1, heads=MEMORIES, key_dim=DIM, value_dim=1, capacity=1000)
    worn, fresh = (create_memory("exact", shape, first_pass="int8") for _ in range(2))
    for scale, n in ((1e3, 700), (1.0, 1300)):
        worn.add(repeating(n)[None] * scale, random(1, MEMORIES, n, 1))
    fresh.load_state_dict(worn.state_dict())
    queries = random(1, MEMORIES, 70, DIM)
    assert bool((worn.search(queries, 32).positions == fresh.search(queries, 32).positions).all())


def test_a_query_that_is_not_finite_harms_no_other() -> None:
    shape = MemoryShape(rows=1, heads=1, key_dim=8, value_dim=1, capacity=64)
    memory = create_memory("exact", shape, first_pass="int8")
    memory.add(random(1, 1, 64, 8), random(1, 1, 64, 1))
    queries = random(1, 1, 3, 8)
    queries[..., 1, :] = torch.nan
    found = memory.search(queries, 4)
    assert found.mask[0, 0].sum(-1).tolist() == [4, 0, 4]


@pytest.mark.parametrize(("dtype", "key_dim"), [("float32", 64), ("bfloat16", 64), ("float32", 128), ("float32", 32)])
def test_what_it_keeps_beside_the_8_bit_key_is_two_in_a_hundred(dtype: str, key_dim: int) -> None:
    shape = MemoryShape(rows=2, heads=3, key_dim=key_dim, value_dim=key_dim, capacity=1024)
    passed = first_pass.CpuFirstPass(shape)
    kept = passed.nbytes / (2 * 3 * 1024)
    entry = 2 * key_dim * getattr(torch, dtype).itemsize
    assert kept - key_dim <= 0.02 * (entry + key_dim)


def test_of_a_store_in_8_bits_no_key_is_kept_twice() -> None:
    shape = MemoryShape(rows=2, heads=3, key_dim=64, value_dim=64, capacity=1024)
    passed = first_pass.CpuFirstPass(shape, StoreOptions(dtype="int8"))
    assert passed.nbytes == passed.bytes_of(shape)
    assert passed.nbytes / (2 * 3 * 1024) < 1.5


def test_the_bound_of_keys_that_have_left_does_not_stay() -> None:
    """They count until the ring has gone round once more: a tile is not bounded by all that ever stood there."""
    passed = first_pass.CpuFirstPass(MemoryShape(rows=1, heads=1, key_dim=8, value_dim=1, capacity=48))
    for scale, first in ((1e6, 0), (1.0, 24), (1.0, 0), (1.0, 24)):
        slots = (torch.arange(24) + first)[None]
        passed.write(torch.tensor([0]), slots, normalize(random(1, 1, 24, 8), dim=-1) * scale)
    assert float(passed._bounds.amax()) < 2
