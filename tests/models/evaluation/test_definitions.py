"""memstack definitions: what is counted, against counting by hand, and what the command makes of it."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.command_line import Run, ensure_refused, settings
from helpers.small_checkpoint import write_checkpoint
from memstack_models.evaluation.definitions.counting import SOUGHT, WHEN, DefinitionCounter, Reach, counter
from memstack_models.evaluation.definitions.python_uses import python_uses
from memstack_models.evaluation.definitions.rates import DefinitionsRecord, rates
from memstack_models.evaluation.retrievals import Reading

REACH = Reach(segment=8, local=8, capacity=24, neighbours=2)
TEXT = "ab = 1\n# 4567890123456\nab\n"
DEFINED, USED = 1, 24
"""Tokens of the name, of which each is a byte after the document token."""


def count(text: str = TEXT, reach: Reach = REACH) -> DefinitionCounter:
    return counter(text, python_uses(text), range(len(text.encode()) + 1), reach)


def reading(found: dict[int, list[list[int]]]) -> Reading:
    """What two heads found by place; nothing elsewhere."""
    positions = torch.full((1, 2, len(TEXT), 2), -1)
    for place, heads in found.items():
        positions[0, :, place] = torch.tensor(heads)
    return Reading(0, 0, positions, torch.zeros(positions.shape), torch.zeros(positions.shape[:3]))


def test_a_use_is_a_hit_for_the_heads_that_found_what_is_sought() -> None:
    counted = count()
    counted.take(reading({USED - 1: [[9, 5], [9, 10]], USED: [[9, 9], [9, 9]], USED + 1: [[-1, -1], [DEFINED, 9]]}))
    counts = counted.counts()
    assert counts.uses == 1
    before, within = WHEN.index("before"), WHEN.index("within")
    assert counts.hits[SOUGHT.index("name"), [before, within]].tolist() == [[0, 0], [0, 1]]
    assert counts.hits[SOUGHT.index("statement"), [before, within]].tolist() == [[1, 0], [0, 1]]
    assert counts.any_head[SOUGHT.index("statement")].tolist() == [1, 1]
    assert counts.recent.sum() == 0


def test_chance_is_that_of_drawing_without_replacement() -> None:
    """By listing all draws: the memory holds tokens 0 to 23 when the use is read, and 0 to 15 when its first is."""
    counted = count()
    counted.take(reading({}))
    counts = counted.counts()
    drawn = list(combinations(range(16), 2))
    one = sum(bool({1, 2} & {*each}) for each in drawn) / len(drawn)
    np.testing.assert_allclose(counts.random[0, 0], one)
    np.testing.assert_allclose(counts.random_any[0, 0], 1 - (1 - one) ** 2)
    drawn = list(combinations(range(24), 2))
    two = sum(bool({1, 2} & {*each}) for each in drawn) / len(drawn)
    np.testing.assert_allclose(counts.random[0, 1], 1 - (1 - two) ** 2)


@pytest.mark.parametrize(
    ("reach", "near", "gone"),
    [(Reach(8, 22, 24, 2), 1, 0), (Reach(8, 8, 16, 2), 0, 1), (Reach(8, 21, 24, 2), 0, 0)],
    ids=["near", "gone", "just far enough"],
)
def test_what_no_memory_can_tell_is_not_counted(reach: Reach, near: int, gone: int) -> None:
    counted = count(reach=reach)
    assert (counted.near, counted.gone, len(counted.uses)) == (near, gone, 1 - near - gone)


def test_rates_are_over_all_uses_and_the_best_head_is_named() -> None:
    counted = count()
    counted.take(reading({USED: [[9, 9], [DEFINED, 9]]}))
    other = count()
    other.take(reading({}))
    found = next(
        each
        for each in rates([counted.counts(), other.counts()], [3])
        if (each.sought, each.when) == ("name", "within")
    )
    assert (found.best_head.rate, found.mean_head.rate, found.any_head.rate, found.best) == (0.5, 0.25, 0.5, (3, 2))
    assert (found.best_head.low, found.best_head.high, found.heads) == (0, 1, ((0.0, 0.5),))
    assert rates([], [3]) == ()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    (tmp_path / "texts").mkdir()
    for name in ("one", "two"):
        (tmp_path / "texts" / f"{name}.py").write_text(TEXT, encoding="utf-8")
    (tmp_path / "texts" / "three.py").write_text("no python\n", encoding="utf-8")
    return tmp_path / "texts"


def test_a_memory_that_finds_all_finds_every_definition(memstack: Run, tmp_path: Path, texts: Path) -> None:
    run = write_checkpoint(tmp_path)
    options = settings("train.segment=8", "memory.neighbours=64", "eval.documents=0")
    code, out, err = memstack("definitions", run, "--data", texts, *options, "--json", "found.json")
    assert code == 0, err
    record = DefinitionsRecord.read(Path("found.json"))
    assert (record.uses, [each.uses for each in record.documents]) == (2, [1, 1, 0])
    assert "it is no Python" in record.documents[2].unreadable
    assert "three.py: it is no Python" in out
    for each in record.retrieved:
        assert {rate.rate for rate in (each.best_head, each.mean_head, each.any_head, each.random, each.recent)} == {1}
    assert "of 2 in 3 documents" in out


def test_a_text_without_uses_is_a_mistake(memstack: Run, tmp_path: Path, texts: Path) -> None:
    run = write_checkpoint(tmp_path)
    refused = memstack("definitions", run, "--data", texts, "--language", "isabelle")
    ensure_refused(refused, "no use of a name in 2 test documents has its isabelle definition further back")
    ensure_refused(memstack("definitions", run, "--data", texts, "--set", "model.memory_layers=[]"), "no memory layer")
