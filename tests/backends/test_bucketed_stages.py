"""The bucketed backend's assignment of slots, and its two stages."""

from itertools import product

import pytest
import torch
from helpers.bucketed import LARGE, NEIGHBOURS, filled, make, unit_keys
from memstack_bucketed import two_stages
from memstack_bucketed.assignment import BucketAssignment, assign_buckets
from memstack_bucketed.plan import KEPT, BucketPlan
from memstack_bucketed.sorted_runs import LEAST, largest
from memstack_bucketed.two_stages import bucketed_slots
from torch import Tensor

from memstack import MemoryShape
from memstack.testing.harness import CHUNK, SHAPE, Data

UNEVEN = MemoryShape(rows=3, heads=2, key_dim=8, value_dim=2, capacity=300)
CPU = torch.device("cpu")

# The assignment ------------------------------------------------------------------------------------------------------


def test_every_slot_falls_into_one_bucket_and_a_tile_fills_each_once() -> None:
    dealt = assign_buckets(1000, 64, CPU)
    slots = dealt.slots(range(dealt.tiles)).unflatten(0, (dealt.tiles, 64))
    assert dealt.tiles == 16
    assert slots.flatten().sort().values.tolist() == list(range(1024))
    assert bool((slots // 64 == torch.arange(16)[:, None]).all())
    assert len({tuple(order) for order in (slots % 64).tolist()}) == 16


def test_slots_are_dealt_the_same_way_as_a_memory_grows() -> None:
    few, many = (assign_buckets(entries, 64, CPU).slots(range(4)) for entries in (256, 4096))
    assert torch.equal(few, many)


# The stages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("tiles", [1, 2, 3, 4, 7, 8, 13])
def test_the_largest_along_the_tiles(kept: int, tiles: int) -> None:
    scores = torch.randn(2, 3, tiles, 5, generator=torch.Generator().manual_seed(tiles))
    found = torch.stack(largest(scores, kept), -2)
    there = min(kept, tiles)
    assert torch.equal(found[..., :there, :], scores.sort(-2, descending=True).values[..., :there, :])
    assert bool((found[..., there:, :] == LEAST).all())


def slots_by_lists(scores: list[float], dealt: BucketAssignment, kept: int, k: int) -> set[int]:
    """The best of every bucket, then the best of those, in plain lists."""
    members: dict[int, list[int]] = {}
    for place, slot in enumerate(dealt.slots(range(dealt.tiles)).tolist()):
        if slot < len(scores):
            members.setdefault(place % dealt.buckets, []).append(slot)
    best = [slot for each in members.values() for slot in sorted(each, key=lambda slot: -scores[slot])[:kept]]
    return set(sorted(best, key=lambda slot: -scores[slot])[:k])


@pytest.mark.parametrize("plan", [BucketPlan(16, 1), BucketPlan(32, 1), BucketPlan(8, 2), BucketPlan(4, 4)])
@pytest.mark.parametrize("block", [1, 64, 1000, 1 << 20])
def test_the_two_stages_find_what_plain_lists_find(plan: BucketPlan, block: int) -> None:
    """Whatever is held at once; rows differ in length, and one is empty."""
    data = Data(UNEVEN)
    keys, queries = data.keys(UNEVEN.capacity), data.queries(5)
    lengths = torch.tensor([300, 0, 37])
    found = bucketed_slots(keys, lengths, queries, 7, plan, block)
    dealt = assign_buckets(300, plan.buckets, CPU)
    for row, head, query in product((0, 2), range(2), range(5)):
        live = int(lengths[row])
        scores = (keys[row, head, :live] @ queries[row, head, query]).tolist()
        assert set(found[row, head, query].tolist()) == slots_by_lists(scores, dealt, plan.kept, 7)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_as_many_are_found_as_there_are(dtype: str) -> None:
    memory, data = make(UNEVEN, dtype=dtype), Data(UNEVEN)
    memory.add(data.keys(200), data.values(200))
    for reset, n in (((False, True, False), 5), ((False, False, True), 20), ((False, True, False), 1)):
        memory.reset(torch.tensor(reset))
        memory.add(data.keys(n), data.values(n))
        assert memory.plan(16, 8) is not None
        found = memory.search(data.queries(16), 8)
        assert bool((found.mask.sum(-1) == memory.lengths.clamp(max=8)[:, None, None]).all())


def test_a_query_that_is_nan_harms_no_other() -> None:
    memory, data = make(UNEVEN), Data(UNEVEN)
    memory.add(data.keys(250), data.values(250))
    queries = data.queries(16)
    before = memory.search(queries, 8)
    queries[0, 0, 3] = torch.nan
    queries[0, 1, 3] = torch.inf
    after = memory.search(queries, 8)
    assert not bool(after.mask[0, 0, 3].any())
    others = torch.arange(16) != 3
    assert torch.equal(after.positions[:, :, others], before.positions[:, :, others])


def test_what_a_row_has_forgotten_hides_nothing() -> None:
    """A slot's old key may be so long that its score exceeds any that stands for a missing one."""
    shape = MemoryShape(rows=2, heads=1, key_dim=16, value_dim=2, capacity=4096)
    memory = make(shape, recall_target=0.9)
    memory.add(unit_keys(2 * 4096, 0).view(2, 1, 4096, -1)[..., :16] * 1e38, torch.zeros(2, 1, 4096, 2))
    memory.reset(torch.tensor([True, False]))
    memory.add(torch.randn(2, 1, 256, 16, generator=torch.Generator().manual_seed(1)), torch.zeros(2, 1, 256, 2))
    queries = torch.randn(2, 1, 256, 16, generator=torch.Generator().manual_seed(2))
    assert memory.plan(256, 8) is not None
    assert bool(memory.search(queries, 8).mask[0].all())


def test_no_more_scores_are_held_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    number = two_stages._numbered

    def spy(scores: Tensor, tiles: range, bits: int) -> Tensor:
        held.append(scores.numel())
        return number(scores, tiles, bits)

    monkeypatch.setattr(two_stages, "_numbered", spy)
    block = 1 << 15
    keys = unit_keys(LARGE.capacity, 1)
    for entries in (1024, LARGE.capacity):
        filled(keys[:, :, :entries], block=block).search(unit_keys(64, 2), NEIGHBOURS)
    assert len(held) > 8
    assert max(held) <= block


def test_the_kit_searches_by_buckets() -> None:
    """Most of its searches are of memories so small that an exact one would cost as much elsewhere."""
    memory, data = make(SHAPE), Data(SHAPE)
    memory.add(data.keys(CHUNK), data.values(CHUNK))
    memory.add(data.keys(CHUNK), data.values(CHUNK))
    assert memory.plan(4, 4) is not None
