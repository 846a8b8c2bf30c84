"""Exact search by an 8-bit first pass: it finds what float64 finds, whatever the keys are."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from helpers.first_pass import made, needs_kernel
from helpers.hard_keys import DIM, MEMORIES, nearly_equal, of_all_lengths, random, repeating, unit, zeros
from memstack_exact.cpu import first_pass
from memstack_exact.search import ExactMemory
from torch import Tensor
from torch.nn.functional import normalize

from memstack import MemoryShape, create_memory
from memstack.store import Scored


def one_coordinate(n: int) -> Tensor:
    """One number so large that all others are rounded to nothing."""
    keys = random(MEMORIES, n, DIM)
    keys[..., 0] = 1000
    return keys


def descending(n: int) -> Tensor:
    """Best last for every query that resembles the first: the threshold rises with every key."""
    keys = unit(n)
    return keys.gather(1, (keys @ keys[:, :1].mT).argsort(1).expand(-1, -1, DIM))


def far_from_the_origin(n: int) -> Tensor:
    """A mean a thousand times as long as what tells the keys apart: a trained model's, and more so."""
    return unit(n) + 1000 * random(MEMORIES, 1, DIM)


KEYS = (unit, repeating, nearly_equal, of_all_lengths, one_coordinate, zeros, descending, far_from_the_origin)


@needs_kernel
@pytest.mark.parametrize("k", [1, 32])
@pytest.mark.parametrize("n", [1, 15, 160, 5000])
@pytest.mark.parametrize("make", KEYS, ids=lambda make: make.__name__)
def test_it_finds_the_true_neighbours(make: Callable[[int], Tensor], n: int, k: int) -> None:
    keys = make(max(n, 4))[:, :n]
    queries = torch.cat([random(MEMORIES, 20, DIM), keys[:, :1], keys[:, :1] * 3, torch.zeros(MEMORIES, 1, DIM)], 1)
    passed = first_pass.CpuFirstPass(MemoryShape(rows=1, heads=MEMORIES, key_dim=DIM, value_dim=1, capacity=n))
    passed.write(torch.tensor([0]), torch.arange(n)[None], keys[None])
    found = passed.search(keys[None], torch.tensor([n]), queries[None], k)
    assert found is not None
    slots, scored = found.slots[0], found.scores[0]
    assert ((slots >= 0).sum(-1) >= min(k, n)).all()
    assert bool((scored[..., 1:] <= scored[..., :-1]).all())
    scores = queries.double() @ keys.double().mT
    lengths = queries.double().norm(dim=-1)[..., None] * keys.double().norm(dim=-1)[:, None]
    rounding = (DIM * 2.0**-23 * lengths).gather(-1, slots.clamp(min=0))
    off = (scores.gather(-1, slots.clamp(min=0)) - scored).abs()
    assert bool((off <= rounding)[slots >= 0].all())
    best = scores.topk(min(k, n)).indices
    for row in range(MEMORIES):
        for q in range(queries.shape[1]):
            found = slots[row, q][slots[row, q] >= 0].tolist()
            assert len(found) == len(set(found))
            assert_none_better(scores[row, q], DIM * 2.0**-23 * lengths[row, q], set(found), set(best[row, q].tolist()))


def assert_none_better(scores: Tensor, rounding: Tensor, found: set[int], best: set[int]) -> None:
    """Nothing but the rounding of float32 sums, of these very keys, may have decided between two."""
    missed, instead = (torch.tensor(sorted(slots), dtype=torch.int64) for slots in (best - found, found - best))
    assert (scores[missed][:, None] - scores[instead] <= rounding[missed][:, None] + rounding[instead]).all()


@needs_kernel
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


@needs_kernel
def test_a_memory_with_it_can_be_copied() -> None:
    memory = made(MemoryShape(rows=1, heads=1, key_dim=8, value_dim=1, capacity=64), first_pass="int8")
    memory.add(random(1, 1, 64, 8), random(1, 1, 64, 1))
    queries = random(1, 1, 3, 8)
    assert torch.equal(copy.deepcopy(memory).search(queries, 4).positions, memory.search(queries, 4).positions)


@needs_kernel
@pytest.mark.parametrize("q", [1, 3, 64, 200])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
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
    assert (found.positions == true.positions).float().mean() > 0.99  # the rest tie in half precision


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


@needs_kernel
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


@needs_kernel
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


@needs_kernel
def test_ties_fall_alike_whatever_stood_in_the_ring_before() -> None:
    """A run that is saved and resumed writes the ring anew, with other bounds, and finds what it would have found."""
    shape = MemoryShape(rows=1, heads=MEMORIES, key_dim=DIM, value_dim=1, capacity=1000)
    worn, fresh = (create_memory("exact", shape, first_pass="int8") for _ in range(2))
    for scale, n in ((1e3, 700), (1.0, 1300)):
        worn.add(repeating(n)[None] * scale, random(1, MEMORIES, n, 1))
    fresh.load_state_dict(worn.state_dict())
    queries = random(1, MEMORIES, 70, DIM)
    assert bool((worn.search(queries, 32).positions == fresh.search(queries, 32).positions).all())


@needs_kernel
def test_a_query_that_is_not_finite_harms_no_other() -> None:
    shape = MemoryShape(rows=1, heads=1, key_dim=8, value_dim=1, capacity=64)
    memory = create_memory("exact", shape, first_pass="int8")
    memory.add(random(1, 1, 64, 8), random(1, 1, 64, 1))
    queries = random(1, 1, 3, 8)
    queries[..., 1, :] = torch.nan
    found = memory.search(queries, 4)
    assert found.mask[0, 0].sum(-1).tolist() == [4, 0, 4]


@needs_kernel
@pytest.mark.parametrize(("dtype", "key_dim"), [("float32", 64), ("bfloat16", 64), ("float32", 128), ("float32", 32)])
def test_what_it_keeps_beside_the_8_bit_key_is_two_in_a_hundred(dtype: str, key_dim: int) -> None:
    shape = MemoryShape(rows=2, heads=3, key_dim=key_dim, value_dim=key_dim, capacity=1024)
    passed = first_pass.CpuFirstPass(shape)
    kept = passed.nbytes / (2 * 3 * 1024)
    entry = 2 * key_dim * getattr(torch, dtype).itemsize
    assert kept - key_dim <= 0.02 * (entry + key_dim)


@needs_kernel
def test_the_bound_of_keys_that_have_left_does_not_stay() -> None:
    """They count until the ring has gone round once more: a tile is not bounded by all that ever stood there."""
    passed = first_pass.CpuFirstPass(MemoryShape(rows=1, heads=1, key_dim=8, value_dim=1, capacity=48))
    for scale, first in ((1e6, 0), (1.0, 24), (1.0, 0), (1.0, 24)):
        slots = (torch.arange(24) + first)[None]
        passed.write(torch.tensor([0]), slots, normalize(random(1, 1, 24, 8), dim=-1) * scale)
    assert float(passed._bounds.amax()) < 2
