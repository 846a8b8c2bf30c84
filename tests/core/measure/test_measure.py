"""What measures memories: key sets are what they claim, the truth is true, and a poor memory gets poor marks."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from memstack import Memory, MemoryShape, SearchResult, create_memory
from memstack.contract.validation import Padded
from memstack.measure import KEY_SETS, measure_memory, true_neighbours
from memstack.measure.keysets import BLOCK, CLUSTERS, CORRELATION, PERIOD, KeyStream
from memstack.measure.measurement import TooSlowError, add_entries
from memstack.measure.timing import Timing, time_call, timed

SHAPE = MemoryShape(rows=2, heads=3, key_dim=64, value_dim=4, capacity=100)
every_key_set = pytest.mark.parametrize("key_set", KEY_SETS)


def stream(key_set: str, seed: int = 0) -> KeyStream:
    return KEY_SETS[key_set](SHAPE, seed)


def cosines(queries: Tensor, keys: Tensor) -> Tensor:
    return queries @ keys.mT


@every_key_set
def test_keys_and_queries_are_unit_vectors_of_every_row_and_head(key_set: str) -> None:
    started = stream(key_set)
    keys, queries = started.keys(300), started.queries(7)
    assert keys.shape == (2, 3, 300, 64)
    assert queries.shape == (2, 3, 7, 64)
    torch.testing.assert_close(keys.norm(dim=-1), torch.ones(2, 3, 300))
    torch.testing.assert_close(queries.norm(dim=-1), torch.ones(2, 3, 7))


@every_key_set
def test_a_seed_gives_the_same_keys_in_whatever_portions(key_set: str) -> None:
    whole, portions = stream(key_set), stream(key_set)
    keys = whole.keys(3 * BLOCK + 1)
    taken = [portions.keys(n) for n in (1, BLOCK, 5, 2 * BLOCK - 5)]
    assert torch.equal(torch.cat(taken, 2), keys)
    assert torch.equal(portions.queries(9), whole.queries(9))
    assert not torch.equal(stream(key_set, seed=1).keys(5), keys[:, :, :5])


@every_key_set
def test_queries_change_no_key_to_come(key_set: str) -> None:
    asked, silent = stream(key_set), stream(key_set)
    for started in (asked, silent):
        started.keys(BLOCK + 3)
    assert not torch.equal(asked.queries(5), asked.queries(5))
    assert torch.equal(asked.keys(BLOCK), silent.keys(BLOCK))


@every_key_set
def test_every_row_and_head_has_keys_of_its_own(key_set: str) -> None:
    keys = stream(key_set).keys(BLOCK).flatten(0, 1)
    assert all(cosines(keys[0], other).max() < 0.9 for other in keys[1:])


def test_isotropic_keys_have_no_near_neighbours() -> None:
    """Cosines of random directions have mean 0 and standard deviation 1 / sqrt(dim), 1/8 here."""
    started = stream("isotropic")
    keys = started.keys(1024)
    found = cosines(started.queries(64), keys)
    assert found.mean().abs() < 0.01
    assert 0.12 < found.std() < 0.13
    assert found.max() < 0.75


def test_clustered_queries_have_their_clusters_share_of_near_keys() -> None:
    started = stream("clustered")
    keys = started.keys(32 * CLUSTERS)
    near = (cosines(started.queries(200), keys) > 0.6).sum(-1).float()
    assert 24 < near.mean() < 40
    assert near.min() >= 8


def test_drifting_keys_resemble_their_neighbours_in_time_only() -> None:
    started = stream("drifting")
    keys = started.keys(8 * CORRELATION)
    beside = (keys[:, :, :-1] * keys[:, :, 1:]).sum(-1).mean()
    far = (keys[:, :, : -4 * CORRELATION] * keys[:, :, 4 * CORRELATION :]).sum(-1).mean()
    assert beside > 0.7
    assert far.abs() < 0.2
    # Also where one block ends and the next begins.
    assert (keys[:, :, BLOCK - 1 :: BLOCK][:, :, :-1] * keys[:, :, BLOCK::BLOCK]).sum(-1).mean() > 0.7


def test_drifting_queries_are_about_the_newest_keys() -> None:
    started = stream("drifting")
    keys = started.keys(8 * CORRELATION)
    found = cosines(started.queries(50), keys)
    assert found[..., -BLOCK:].mean() > 0.4
    assert found[..., :CORRELATION].mean().abs() < 0.2


def test_repeating_keys_repeat_exactly() -> None:
    keys = stream("repeating").keys(10 * PERIOD)
    assert torch.equal(keys, keys[:, :, :PERIOD].repeat(1, 1, 10, 1))
    assert len(keys[0, 0].unique(dim=0)) == PERIOD


def test_a_query_near_the_newest_keys_needs_some() -> None:
    with pytest.raises(ValueError, match="take some keys first"):
        stream("drifting").queries(1)


@every_key_set
def test_exact_search_is_measured_to_find_everything(key_set: str) -> None:
    measured = measure_memory(create_memory("exact", SHAPE), key_set, neighbours=8, chunk=30, queries=(2, 40))
    assert measured.recall == 1.0
    assert measured.attention_mass_recall == pytest.approx(1.0)


class HalfMemory(Memory):
    """Finds the better half of the k; nothing but a Memory, so it does not say where it lives."""

    def __init__(self, shape: MemoryShape) -> None:
        self.shape = shape
        self.inside = create_memory("exact", shape)

    def add(self, keys: Tensor, values: Tensor, lengths: Tensor | None = None, *, padded: Padded = "right") -> None:
        self.inside.add(keys, values, lengths, padded=padded)

    def search(self, queries: Tensor, k: int) -> SearchResult:
        found = self.inside.search(queries, k)
        missed = torch.arange(k) >= k / 2
        scores = found.scores.masked_fill(missed, -torch.inf)
        return replace(found, scores=scores, positions=found.positions.masked_fill(missed, -1))

    def reset(self, rows: Tensor | None = None) -> None:
        self.inside.reset(rows)

    @property
    def lengths(self) -> Tensor:
        return self.inside.lengths

    def state_dict(self) -> dict[str, Tensor]:
        return self.inside.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.inside.load_state_dict(state)


@every_key_set
def test_a_memory_that_misses_half_is_measured_to_find_half(key_set: str) -> None:
    """It misses the worse half, which holds less than half of the attention unless all neighbours tie."""
    measured = measure_memory(HalfMemory(SHAPE), key_set, neighbours=2, chunk=30, queries=(40,), repeats=1)
    assert measured.recall == 0.5
    assert 0.5 - 1e-6 < measured.attention_mass_recall < 1.0


def test_every_verb_is_measured_as_often_as_was_asked() -> None:
    """100 entries in chunks of 30 fill the memory, 50 more turn it over; each of two rows is reset once."""
    memory = create_memory("exact", SHAPE)
    measured = measure_memory(memory, "isotropic", neighbours=4, chunk=30, queries=(2, 3), repeats=5, turnover=0.5)
    assert {q: len(timing.seconds) for q, timing in measured.search.items()} == {2: 5, 3: 5}
    assert [len(timing.seconds) for timing in (measured.fill, measured.add, measured.reset)] == [4, 2, 2]
    assert memory.lengths.tolist() == [0, 0]


def test_entries_are_added_chunk_by_chunk_and_the_last_is_smaller() -> None:
    memory = create_memory("exact", SHAPE)
    timing = add_entries(memory, stream("isotropic"), 70, chunk=30)
    assert memory.lengths.tolist() == [70, 70]
    assert len(timing.seconds) == 3


def test_a_memory_whose_adds_take_too_long_is_given_up() -> None:
    memory = create_memory("exact", SHAPE)
    with pytest.raises(TooSlowError, match="adding 30 of 70 entries took more than the 0 s allowed"):
        add_entries(memory, stream("isotropic"), 70, chunk=30, limit_s=0)
    with pytest.raises(TooSlowError, match="adding 30 of 100 entries"):
        measure_memory(memory, "isotropic", chunk=30, limit_s=0)


def test_keys_of_another_kind_can_be_brought() -> None:
    seeds: list[int] = []

    def start(shape: MemoryShape, seed: int, device: torch.device) -> KeyStream:
        seeds.append(seed)
        return KEY_SETS["clustered"](shape, seed, device)

    brought = measure_memory(create_memory("exact", SHAPE), "my own", queries=(2,), seed=3, start=start, repeats=1)
    assert brought.key_set == "my own"
    assert seeds == [4, 3]


def test_the_truth_is_what_exact_search_finds() -> None:
    """Rows of different lengths, one beyond its capacity and one shorter than k; grouped queries."""
    memory = create_memory("exact", SHAPE)
    keys = stream("isotropic")
    add_entries(memory, keys, 120, chunk=50)
    memory.reset(torch.tensor([False, True]))
    add_entries(memory, keys, 5)
    queries = torch.cat([keys.queries(4), keys.queries(4)], 1)
    found, truth = memory.search(queries, 8), true_neighbours(memory, queries, 8)
    assert torch.equal(truth.positions, found.positions)
    torch.testing.assert_close(truth.scores, found.scores)
    torch.testing.assert_close(truth.keys, found.keys)
    torch.testing.assert_close(truth.values, found.values)


def test_the_truth_of_an_empty_memory_is_nothing() -> None:
    truth = true_neighbours(create_memory("exact", SHAPE), stream("isotropic").queries(2), 3)
    assert not truth.mask.any()
    assert truth.keys.shape == (2, 3, 2, 3, 64)
    assert not truth.values.any()


def test_a_call_is_timed_after_its_warm_up() -> None:
    calls: list[int] = []
    timing = time_call(lambda: calls.append(len(calls)), repeats=4, warm_up=2)
    assert len(calls) == 6
    assert len(timing.seconds) == 4
    assert timed(lambda: "answer")[0] == "answer"


def test_the_median_is_the_usual_call_and_the_worst_the_slowest() -> None:
    timing = Timing((0.002, 0.9, 0.001, 0.003, 0.002))
    assert timing.median_ms == pytest.approx(2)
    assert timing.mean_ms == pytest.approx(908 / 5)
    assert timing.worst_ms == pytest.approx(900)


def test_an_accelerators_work_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the clock starts, for what others queued, and before it stops."""
    waits: list[object] = []
    monkeypatch.setattr("torch.accelerator.synchronize", waits.append)
    timed(lambda: waits.append("call"), "meta")
    timed(lambda: waits.append("call"), "cpu")
    assert waits == ["meta", "call", "meta", "call"]
