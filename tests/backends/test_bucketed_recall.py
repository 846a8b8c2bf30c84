"""The bucketed backend finds what its target says: among keys that repeat, and among those that a model stores."""

import pytest
import torch
from helpers.bucketed import LARGE, NEIGHBOURS, filled, make, unit_keys
from memstack_bucketed import two_stages
from memstack_bucketed.assignment import BucketAssignment, assign_buckets
from memstack_bucketed.plan import BucketPlan
from memstack_models.evaluation.recording import recording
from torch import Tensor
from torch.nn.functional import normalize

from memstack import MemoryShape
from memstack.contract.metrics import recall, recall_by_score
from memstack.measure.measurement import add_entries
from memstack.measure.recorded import Recorded
from memstack.testing.assertions import ensure_same_answer

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

    monkeypatch.setattr(two_stages, "assign_buckets", strided)
    keys, queries = repeating(512)
    memory = filled(keys)
    assert memory.plan(queries.shape[2], NEIGHBOURS) == BucketPlan(512, 1)
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
