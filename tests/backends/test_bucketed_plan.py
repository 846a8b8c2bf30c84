"""The bucketed backend's expected recall, and the plans that are made by it."""

import math
from itertools import combinations, product

import pytest
from helpers.bucketed import LARGE, NEIGHBOURS, filled, make, unit_keys
from memstack_bucketed.plan import KEPT, MOST_TILES, BucketPlan, SearchSize, cheapest_plan, cost, rounded
from memstack_bucketed.recall import expected_recall
from memstack_bucketed.two_stages import bucketed_slots

import memstack
from memstack.testing.assertions import ensure_same_answer

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
    slots = bucketed_slots(memory.stored_keys, memory.lengths, queries, NEIGHBOURS, BucketPlan(count, kept), 1 << 18)
    true = memory.nearest_slots(queries, NEIGHBOURS)
    found = float((true[..., None] == slots[..., None, :]).any(-1).float().mean())
    assert found == pytest.approx(expected_recall(LARGE.capacity, NEIGHBOURS, count, kept), abs=0.01)


# The plan ---------------------------------------------------------------------------------------------------------

TARGETS = (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("entries", [256, 4096, 65_536, 1 << 20])
def test_a_plan_meets_its_target_and_is_cheaper_than_exact_search(entries: int, target: float) -> None:
    for k, q in product((1, 8, 32, 128), (16, 512)):
        search = SearchSize(entries, k, q, 64)
        if plan := cheapest_plan(search, target):
            assert expected_recall(entries, k, *plan) >= target
            assert k <= plan.candidates < entries
            assert entries <= plan.buckets * MOST_TILES
            assert cost(search, plan) < cost(search, None)


def test_no_other_plan_that_meets_the_target_is_cheaper() -> None:
    search = SearchSize(8192, NEIGHBOURS, 512, 64)
    for target in TARGETS:
        others = [BucketPlan(1 << power, kept) for power in range(5, 13) for kept in KEPT]
        enough = [plan for plan in others if expected_recall(8192, NEIGHBOURS, *plan) >= target]
        assert cost(search, cheapest_plan(search, target)) == min(cost(search, each) for each in [*enough, None])


def test_more_is_kept_per_bucket_where_candidates_are_dear() -> None:
    many, few = SearchSize(1 << 18, NEIGHBOURS, 512, 64), SearchSize(1024, NEIGHBOURS, 512, 64)
    assert cheapest_plan(many, 0.95) == BucketPlan(512, 1)
    plan = cheapest_plan(few, 0.99)
    assert plan is not None
    assert plan.kept > 1


@pytest.mark.parametrize(
    ("search", "target"),
    [
        (SearchSize(8, 8, 64, 64), 0.9),  # all are asked for
        (SearchSize(65_536, 32, 1, 64), 0.9),  # one query does not pay for the assignment of the keys
        (SearchSize(65_536, 32, 64, 64), 1 - 1e-12),
    ],
)
def test_what_does_not_pay_is_searched_exactly(search: SearchSize, target: float) -> None:
    assert cheapest_plan(search, target) is None


def test_a_memory_that_does_not_pay_answers_exactly() -> None:
    keys = unit_keys(LARGE.capacity, 1)
    memory, queries = filled(keys, recall_target=1 - 1e-12), unit_keys(16, 2)
    assert memory.plan(16, NEIGHBOURS) is None
    ensure_same_answer("exactly", memory.search(queries, NEIGHBOURS), memory.search_exactly(queries, NEIGHBOURS))


def test_a_growing_memory_is_planned_for_a_few_times() -> None:
    searches = {rounded(SearchSize(entries, 32, 64, 64)) for entries in range(4000, 9000)}
    assert searches == {SearchSize(entries, 32, 64, 64) for entries in (4096, 8192, 16_384)}


@pytest.mark.parametrize(("count", "kept"), [(64, 1), (512, 1), (64, 2), (16, 4)])
def test_among_fewer_entries_no_less_is_expected(count: int, kept: int) -> None:
    """Why a plan may be made for more entries than there are."""
    expected = [expected_recall(entries, NEIGHBOURS, count, kept) for entries in range(4096, 8193, 128)]
    assert expected == sorted(expected, reverse=True)


@pytest.mark.parametrize("target", [0.0, 1.0, -0.5, 1.5])
def test_a_target_is_a_share(target: float) -> None:
    with pytest.raises(memstack.OptionsError, match="recall_target"):
        make(recall_target=target)
