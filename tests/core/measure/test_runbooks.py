"""Runbooks lead a memory through the lives they describe, and play() times every verb."""

import pytest
import torch
from torch import Tensor

from memstack import MemoryShape, SearchResult, create_memory
from memstack.contract.validation import Padded
from memstack.measure import KEY_SETS
from memstack.measure.measurement import CHUNK
from memstack.measure.runbooks import RUNBOOKS, Played, Runbook, documents, play
from memstack.wrappers.base import MemoryWrapper

SHAPE = MemoryShape(rows=20, heads=2, key_dim=8, value_dim=3, capacity=4 * CHUNK)


class Diary(MemoryWrapper):
    """Writes down what it was asked to do, and how full its rows were at every search."""

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__(create_memory("exact", shape))
        self.verbs: list[str] = []
        self.seen: list[Tensor] = []

    def add(self, keys: Tensor, values: Tensor, lengths: Tensor | None = None, *, padded: Padded = "right") -> None:
        self.verbs.append("add")
        super().add(keys, values, lengths, padded=padded)

    def search(self, queries: Tensor, k: int) -> SearchResult:
        self.verbs.append("search")
        self.seen.append(self.lengths.clone())
        return super().search(queries, k)

    def reset(self, rows: Tensor | None = None) -> None:
        self.verbs.append("reset")
        super().reset(rows)


def played(runbook: Runbook, shape: MemoryShape = SHAPE) -> tuple[Played, Diary]:
    diary = Diary(shape)
    return play(runbook, diary, KEY_SETS["isotropic"](shape), neighbours=4), diary


@pytest.mark.parametrize("name", RUNBOOKS)
def test_every_call_is_timed(name: str) -> None:
    runbook = RUNBOOKS[name](SHAPE, 6 * CHUNK)
    result, diary = played(runbook)
    before = sum(1 + bool(step.resets) + bool(step.queries) for step in runbook.before)
    for verb in set(diary.verbs[before:]):
        assert len(result.timings[verb].seconds) == diary.verbs[before:].count(verb)
    assert len(result.timings["step"].seconds) == len(runbook.steps)


def test_filling_ends_when_the_memory_is_full() -> None:
    _, diary = played(RUNBOOKS["fill"](SHAPE, 100 * CHUNK))
    assert diary.verbs == ["add"] * 4
    assert diary.lengths.tolist() == [SHAPE.capacity] * SHAPE.rows


def test_tokens_that_fill_no_chunk_are_added_too() -> None:
    _, diary = played(RUNBOOKS["long-document"](SHAPE, CHUNK + 7))
    assert diary.lengths.tolist() == [CHUNK + 7] * SHAPE.rows


def test_steady_state_is_full_from_the_first_timed_step() -> None:
    result, diary = played(RUNBOOKS["steady"](SHAPE, 3 * CHUNK))
    assert diary.verbs == ["add"] * 4 + ["search", "add"] * 3
    assert all((lengths == SHAPE.capacity).all() for lengths in diary.seen)
    assert len(result.timings["add"].seconds) == 3


def test_a_step_resets_then_asks_then_adds() -> None:
    """In the order of a training step: a row that starts a document finds nothing of the one before."""
    _, diary = played(RUNBOOKS["mostly-empty"](SHAPE, 2 * CHUNK))
    assert diary.verbs[-3:] == ["reset", "search", "add"]


def test_mostly_empty_memories_are_19_of_20_empty_whenever_asked() -> None:
    _, diary = played(RUNBOOKS["mostly-empty"](SHAPE, 3 * CHUNK))
    assert [lengths.tolist() for lengths in diary.seen] == [[SHAPE.capacity] + [0] * 19] * 3


def test_documents_end_where_their_lengths_say() -> None:
    """One row, documents of two and three chunks by turns, begun half way through the first."""
    shape = MemoryShape(rows=1, heads=1, key_dim=8, value_dim=8, capacity=8 * CHUNK)
    runbook = documents(shape, 12 * CHUNK, lengths=(2 * CHUNK, 3 * CHUNK))
    assert [step for step, each in enumerate(runbook.steps) if each.resets] == [1, 4, 6, 9, 11]
    _, diary = played(runbook, shape)
    assert [int(lengths) // CHUNK for lengths in diary.seen] == [1, 2, 1, 1, 2, 1]


def test_rows_read_different_documents() -> None:
    runbook = documents(SHAPE, 200 * CHUNK)
    resets = [step.resets for step in runbook.steps if step.resets]
    assert resets
    assert max(len(rows) for rows in resets) < SHAPE.rows / 2


def test_a_memory_may_hold_values_of_another_size_than_keys() -> None:
    _, diary = played(RUNBOOKS["fill"](SHAPE, CHUNK))
    assert diary.state_dict()["values"].shape == (20, 2, CHUNK, 3)
    assert torch.equal(diary.state_dict()["values"], torch.ones(20, 2, CHUNK, 3))
