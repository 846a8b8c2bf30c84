"""The conformance kit on several ranks: all run it in step, and every promise is kept on every one of them."""

import pytest
from helpers.ranks import on_ranks
from helpers.sharded import INTERRUPTS, OnRanks, kit

from memstack.plugins.registry import registry
from memstack.testing import MemoryContract, promises

SLOW = ("sequence", "another_default", "one_mode", "copies_share", "whatever_is_under_way", "process")
SHORT = [name for name in promises() if not any(part in name for part in SLOW)]


def outcomes(backend: str, shards: int, only: list[str] | None) -> dict[str, str]:
    """How each promise fared, the same on all ranks."""
    ranks = on_ranks(shards, kit, backend, shards, only)
    told = [{name: f"{outcome}: {detail}" for name, outcome, detail in results} for results in ranks]
    failed = [
        f"rank {rank}, {name}: {how}"
        for rank, each in enumerate(told)
        for name, how in each.items()
        if "fail" in how[:4]
    ]
    assert not failed, "\n".join(failed)
    assert all(each == told[0] for each in told)
    return told[0]


def ensure_kept(backend: str, shards: int, only: list[str] | None) -> None:
    told = outcomes(backend, shards, only)
    assert len(told) == len(promises() if only is None else only)
    expected = {name: f"not run: {reason}" for name, reason in OnRanks.excluded.items()}
    assert {name: how for name, how in told.items() if how != "pass: "} == expected


def test_the_kit_over_exact_search_on_two_ranks() -> None:
    ensure_kept("exact", 2, SHORT)


def test_the_kit_over_an_approximate_search_on_two_ranks() -> None:
    ensure_kept("bucketed", 2, [name for name in SHORT if "recall" in name or name in OnRanks.excluded])


@pytest.mark.long
@pytest.mark.parametrize("shards", [2, 4])
@pytest.mark.parametrize("backend", ["exact", "bucketed", "faiss-ivf"])
def test_the_whole_kit(backend: str, shards: int) -> None:
    if missing := registry().spec(backend).missing():
        pytest.skip(f"{backend} needs {', '.join(missing)}")
    ensure_kept(backend, shards, None)


def test_what_is_excluded_says_why_and_is_of_the_contract() -> None:
    assert {*OnRanks.excluded.values()} == {INTERRUPTS}
    with pytest.raises(ValueError, match="got 'test_nothing'"):
        type("Odd", (MemoryContract,), {"excluded": {"test_nothing": "there is none"}})
    with pytest.raises(ValueError, match="say why"):
        type("Odd", (MemoryContract,), {"excluded": {"test_ties": ""}})
