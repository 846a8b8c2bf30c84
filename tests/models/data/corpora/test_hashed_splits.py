"""Splits by a hash of names: they depend on nothing else, and are empty only where it cannot be avoided."""

import string
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memstack_models.data.corpora.hashed import fraction, split_by_hash

from memstack import SPLITS
from memstack.contract.corpus import Split

SHARES = {"train": 90.0, "validation": 5.0, "test": 5.0}
FULL = [f"{n}.txt" for n in range(300)]
"""So many that each split has documents of its own."""
names = st.lists(st.text(string.ascii_letters + "/.é", min_size=1, max_size=9), unique=True, max_size=12)


def owner(splits: Mapping[Split, list[str]]) -> dict[str, str]:
    return {name: split for split, found in splits.items() for name in found}


@given(names)
@settings(max_examples=200, deadline=None)
def test_every_document_is_in_one_split_and_none_is_empty_without_need(documents: list[str]) -> None:
    splits = split_by_hash(documents, SHARES)
    assert sorted(name for split in SPLITS for name in splits[split]) == sorted(documents)
    assert all(found == sorted(found) for found in splits.values())
    assert sum(bool(found) for found in splits.values()) == min(3, len(documents))
    assert split_by_hash(reversed(documents), SHARES) == splits


@given(names)
@settings(max_examples=100, deadline=None)
def test_a_new_document_moves_no_other(new: list[str]) -> None:
    before = owner(split_by_hash(FULL, SHARES))
    assert owner(split_by_hash({*FULL, *new}, SHARES)).items() >= before.items()


def test_a_borrowed_document_goes_back_when_its_place_is_filled() -> None:
    few = [name for name in FULL if fraction(name) < 0.9][:5]
    borrowed = owner(split_by_hash(few, SHARES))
    assert sorted(borrowed.values()) == ["test", "train", "train", "train", "validation"]
    # The smallest hash goes to test, the next to validation.
    assert [borrowed[name] for name in sorted(few, key=fraction)[:2]] == ["test", "validation"]
    assert {owner(split_by_hash(FULL, SHARES))[name] for name in few} == {"train"}


def test_shares_are_kept() -> None:
    splits = split_by_hash((f"{n}" for n in range(4000)), SHARES)
    assert len(splits["train"]) == pytest.approx(3600, abs=60)
    assert len(splits["test"]) == pytest.approx(200, abs=45)
    thirds = split_by_hash((f"{n}" for n in range(3000)), dict.fromkeys(SPLITS, 0.1))
    assert all(len(found) == pytest.approx(1000, abs=90) for found in thirds.values())


def test_a_share_of_nothing_gets_nothing() -> None:
    assert split_by_hash(FULL, {"train": 0, "validation": 1, "test": 0})["validation"] == sorted(FULL)


def test_a_document_stays_where_it_was_in_earlier_versions() -> None:
    """What is held out today is held out tomorrow: the hash is part of what a checkpoint was trained on."""
    assert [round(fraction(name), 6) for name in ("a.tex", "chapters/über.tex")] == PINNED


PINNED = [0.481911, 0.059092]
