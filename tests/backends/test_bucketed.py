"""The bucketed backend: expected recall, the plan, the assignment, the two stages; beside the kit in test_contract."""

import math
from itertools import combinations, product
from typing import Any

import pytest
import torch
from memstack_bucketed import buckets
from memstack_bucketed.assignment import BucketAssignment, assign_buckets
from memstack_bucketed.buckets import bucketed_slots
from memstack_bucketed.plan import KEPT, MOST_TILES, Plan, Search, cheapest_plan, cost, rounded
from memstack_bucketed.recall import expected_recall
from memstack_bucketed.search import BucketedMemory
from memstack_bucketed.sorted_runs import LEAST, largest
from memstack_models.evaluation.recording import recording
from torch import Tensor
from torch.nn.functional import normalize

import memstack
from memstack import MemoryShape
from memstack.contract.metrics import recall, recall_by_score
from memstack.measure import Recorded, add_entries
from memstack.testing.assertions import ensure_same_answer
from memstack.testing.harness import CHUNK, SHAPE, Data

LARGE = MemoryShape(rows=1, heads=2, key_dim=32, value_dim=1, capacity=8192)
UNEVEN = MemoryShape(rows=3, heads=2, key_dim=8, value_dim=2, capacity=300)
CPU = torch.device("cpu")
NEIGHBOURS = 32


def make(shape: MemoryShape = LARGE, **options: Any) -> BucketedMemory:
    memory = memstack.create_memory("bucketed", shape, **options)
    assert isinstance(memory, BucketedMemory)
    return memory


def unit_keys(n: int, seed: int) -> Tensor:
    """Unit vectors in random directions."""
    random = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(LARGE.rows, LARGE.heads, n, LARGE.key_dim, generator=random), dim=-1)


def filled(keys: Tensor, **options: Any) -> BucketedMemory:
    memory = make(**options)
    memory.add(keys, torch.zeros(*keys.shape[:3], 1))
    return memory


# The expected recall ----------------------------------------------------------------------------------------------

# k, buckets, kept; the recall among 65,536 and among 8,192 entries.
PUBLISHED = [
    (32, 32, 1, 0.638, 0.639),
    (32, 128, 1, 0.888, 0.889),
    (32, 256, 1, 0.942, 0.943),
    (32, 512, 1, 0.971, 0.972),
    (32, 32, 2, 0.902, 0.903),
    (32, 64, 2, 0.970, 0.970),
    (32, 128, 2, 0.992, 0.992),
    (32, 16, 4, 0.968, 0.968),
    (32, 32, 4, 0.997, 0.997),
    (128, 128, 1, 0.634, 0.636),
    (128, 512, 1, 0.886, 0.892),
    (128, 1024, 1, 0.941, 0.947),
    (128, 128, 2, 0.898, 0.901),
    (128, 64, 4, 0.964, 0.965),
    (128, 32, 8, 0.993, 0.993),
]


@pytest.mark.parametrize(("k", "count", "kept", "among_65536", "among_8192"), PUBLISHED)
def test_expected_recall_is_the_theorems(k: int, count: int, kept: int, among_65536: float, among_8192: float) -> None:
    assert expected_recall(65_536, k, count, kept) == pytest.approx(among_65536, abs=6e-4)
    assert expected_recall(8_192, k, count, kept) == pytest.approx(among_8192, abs=6e-4)


@pytest.mark.parametrize(("entries", "count"), [(8, 4), (9, 4), (10, 4), (7, 3), (5, 8)])
def test_expected_recall_is_the_mean_over_every_placement(entries: int, count: int) -> None:
    """Also where the buckets are of two sizes, or some are empty."""
    for k, kept in product((1, 2, 4, entries), (1, 2)):
        placements = list(combinations(range(entries), k))
        found = sum(
            min(kept, sum(place % count == bucket for place in places))
            for places in placements
            for bucket in range(count)
        )
        assert expected_recall(entries, k, count, kept) == pytest.approx(found / len(placements) / k)


def test_the_closed_form_of_one_kept() -> None:
    for entries, k, count in ((4096, 32, 64), (1 << 20, 128, 4096)):
        untouched = math.comb(entries - entries // count, k) / math.comb(entries, k)
        assert expected_recall(entries, k, count, 1) == pytest.approx(count / k * (1 - untouched), abs=1e-7)


@pytest.mark.parametrize(("count", "kept"), [(64, 1), (512, 1), (32, 2), (128, 2), (16, 4)])
def test_what_is_found_among_random_keys_is_what_is_expected(count: int, kept: int) -> None:
    memory = filled(unit_keys(LARGE.capacity, 1))
    queries = unit_keys(512, 2)
    slots = bucketed_slots(memory.stored_keys, memory.lengths, queries, NEIGHBOURS, Plan(count, kept), 1 << 18)
    true = memory.nearest_slots(queries, NEIGHBOURS)
    found = float((true[..., None] == slots[..., None, :]).any(-1).float().mean())
    assert found == pytest.approx(expected_recall(LARGE.capacity, NEIGHBOURS, count, kept), abs=0.01)


# The plan ---------------------------------------------------------------------------------------------------------

TARGETS = (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("entries", [256, 4096, 65_536, 1 << 20])
def test_a_plan_meets_its_target_and_is_cheaper_than_exact_search(entries: int, target: float) -> None:
    for k, queries in product((1, 8, 32, 128), (16, 512)):
        search = Search(entries, k, queries, 64)
        if plan := cheapest_plan(search, target):
            assert expected_recall(entries, k, *plan) >= target
            assert k <= plan.candidates < entries
            assert entries <= plan.buckets * MOST_TILES
            assert cost(search, plan) < cost(search, None)


def test_no_other_plan_that_meets_the_target_is_cheaper() -> None:
    search = Search(8192, NEIGHBOURS, 512, 64)
    for target in TARGETS:
        others = [Plan(1 << power, kept) for power in range(5, 13) for kept in KEPT]
        enough = [plan for plan in others if expected_recall(8192, NEIGHBOURS, *plan) >= target]
        assert cost(search, cheapest_plan(search, target)) == min(cost(search, each) for each in [*enough, None])


def test_more_is_kept_per_bucket_where_candidates_are_dear() -> None:
    many, few = Search(1 << 18, NEIGHBOURS, 512, 64), Search(1024, NEIGHBOURS, 512, 64)
    assert cheapest_plan(many, 0.95) == Plan(512, 1)
    plan = cheapest_plan(few, 0.99)
    assert plan is not None
    assert plan.kept > 1


@pytest.mark.parametrize(
    ("search", "target"),
    [
        (Search(8, 8, 64, 64), 0.9),  # all are asked for
        (Search(65_536, 32, 1, 64), 0.9),  # one query does not pay for the assignment of the keys
        (Search(65_536, 32, 64, 64), 1 - 1e-12),
    ],
)
def test_what_does_not_pay_is_searched_exactly(search: Search, target: float) -> None:
    assert cheapest_plan(search, target) is None


def test_a_memory_that_does_not_pay_answers_exactly() -> None:
    keys = unit_keys(LARGE.capacity, 1)
    memory, queries = filled(keys, recall_target=1 - 1e-12), unit_keys(16, 2)
    assert memory.plan(16, NEIGHBOURS) is None
    ensure_same_answer("exactly", memory.search(queries, NEIGHBOURS), memory.search_exactly(queries, NEIGHBOURS))


def test_a_growing_memory_is_planned_for_a_few_times() -> None:
    searches = {rounded(Search(entries, 32, 64, 64)) for entries in range(4000, 9000)}
    assert searches == {Search(entries, 32, 64, 64) for entries in (4096, 8192, 16_384)}


@pytest.mark.parametrize(("count", "kept"), [(64, 1), (512, 1), (64, 2), (16, 4)])
def test_among_fewer_entries_no_less_is_expected(count: int, kept: int) -> None:
    """Why a plan may be made for more entries than there are."""
    expected = [expected_recall(entries, NEIGHBOURS, count, kept) for entries in range(4096, 8193, 128)]
    assert expected == sorted(expected, reverse=True)


@pytest.mark.parametrize("target", [0.0, 1.0, -0.5, 1.5])
def test_a_target_is_a_share(target: float) -> None:
    with pytest.raises(memstack.OptionsError, match="recall_target"):
        make(recall_target=target)


# The assignment ------------------------------------------------------------------------------------------------------


def test_every_slot_falls_into_one_bucket_and_a_tile_fills_each_once() -> None:
    dealt = assign_buckets(1000, 64, CPU)
    slots = dealt.slots(range(dealt.tiles)).unflatten(0, (dealt.tiles, 64))
    assert dealt.tiles == 16
    assert slots.flatten().sort().values.tolist() == list(range(1024))
    assert bool((slots // 64 == torch.arange(16)[:, None]).all())
    assert len({tuple(order) for order in (slots % 64).tolist()}) == 16


def test_slots_are_dealt_the_same_way_as_a_memory_grows() -> None:
    some, more = (assign_buckets(entries, 64, CPU).slots(range(4)) for entries in (256, 4096))
    assert torch.equal(some, more)


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


@pytest.mark.parametrize("plan", [Plan(16, 1), Plan(32, 1), Plan(8, 2), Plan(4, 4)])
@pytest.mark.parametrize("block", [1, 64, 1000, 1 << 20])
def test_the_two_stages_find_what_plain_lists_find(plan: Plan, block: int) -> None:
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
    number = buckets._numbered

    def spy(scores: Tensor, tiles: range, bits: int) -> Tensor:
        held.append(scores.numel())
        return number(scores, tiles, bits)

    monkeypatch.setattr(buckets, "_numbered", spy)
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


# What repeats -----------------------------------------------------------------------------------------------------

SEGMENT = 256
PERIODS = (32, 64, 96, 128, 200, SEGMENT, 500, 512, 513, 768, 1000, 1024, 2048, 4096)
"""Those that divide the 512 buckets and twice as many, and the segment; powers of two; and some that divide nothing."""


def repeating(period: int) -> tuple[Tensor, Tensor]:
    """Keys that come again and again, each time a little different; and queries near them."""
    again = -(-LARGE.capacity // period)
    keys = unit_keys(period, 1).repeat(1, 1, again, 1)[:, :, : LARGE.capacity]
    near = keys[:, :, :: LARGE.capacity // 256] + 0.1 * unit_keys(256, 3)
    return normalize(keys + 0.1 * unit_keys(LARGE.capacity, 2), dim=-1), normalize(near, dim=-1)


@pytest.mark.parametrize("target", [0.8, 0.95])
@pytest.mark.parametrize("period", PERIODS)
def test_repeating_keys_are_found_as_well_as_others(period: int, target: float) -> None:
    keys, queries = repeating(period)
    memory = filled(keys, recall_target=target)
    plan = memory.plan(queries.shape[2], NEIGHBOURS)
    assert plan is not None
    found, true = memory.search(queries, NEIGHBOURS), memory.search_exactly(queries, NEIGHBOURS)
    assert recall(found, true) >= target - 0.01


def test_dealt_in_one_order_repeating_keys_would_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def strided(entries: int, count: int, device: torch.device) -> BucketAssignment:
        tiles = assign_buckets(entries, count, device).tiles
        return BucketAssignment(count, torch.zeros(tiles, dtype=torch.int64), torch.ones(tiles, dtype=torch.int64))

    monkeypatch.setattr(buckets, "assign_buckets", strided)
    keys, queries = repeating(512)
    memory = filled(keys)
    assert memory.plan(queries.shape[2], NEIGHBOURS) == Plan(512, 1)
    assert recall(memory.search(queries, NEIGHBOURS), memory.search_exactly(queries, NEIGHBOURS)) < 0.8


def test_the_same_question_gets_the_same_answer() -> None:
    keys, queries = repeating(512)
    one, other = filled(keys), filled(keys)
    answer = one.search(queries, NEIGHBOURS)
    ensure_same_answer("asked again", one.search(queries, NEIGHBOURS), answer)
    ensure_same_answer("asked elsewhere", other.search(queries, NEIGHBOURS), answer)


# What a model stores ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [0.8, 0.9, 0.95, 0.99])
def test_recorded_keys_are_found_as_well_as_the_target_says(target: float) -> None:
    """All memories of the shipped checkpoint. Recording takes a while, once: what was recorded stays in the cache."""
    made = recording(entries=LARGE.capacity + SEGMENT)
    shape = MemoryShape(rows=1, heads=made.memories, key_dim=made.key_dim, value_dim=1, capacity=LARGE.capacity)
    memory, stream = make(shape, recall_target=target), Recorded(shape, made)
    add_entries(memory, stream, LARGE.capacity, SEGMENT)
    queries = stream.queries(SEGMENT)
    assert memory.plan(SEGMENT, NEIGHBOURS) is not None
    found, true = memory.search(queries, NEIGHBOURS), memory.search_exactly(queries, NEIGHBOURS)
    assert target <= recall_by_score(found, true) < 1
