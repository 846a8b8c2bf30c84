"""The conformance kit on several ranks: all run it in step, and every promise is kept on every one of them."""

import pytest
from helpers.ranks import on_ranks
from helpers.sharded import INTERRUPTS, OnRanks, kit

from memstack.plugins.registry import registry
from memstack.testing import MemoryContract, promises

SHORT = [
    "test_k_beyond_the_capacity",
    "test_no_queries",
    "test_grouped_queries",
    "test_a_query_that_is_nan_finds_nothing",
    "test_gradient_of_dot",
    "test_gradient_of_mix",
    "test_a_result_goes_stale",
    "test_dot_and_mix_of_taken_columns",
    "test_modes",
    "test_what_the_store_cannot_hold",
    "test_wrong_keys_and_values",
    "test_wrong_questions_to_a_result",
    "test_a_ragged_batch",
    "test_rows_can_be_reordered_and_copied",
    "test_a_state_saved_elsewhere_loads",
    "test_a_state_that_does_not_fit",
    "test_pairing_when_the_chunk_exceeds_the_capacity",
    "test_reset_leaves_other_rows_alone",
    "test_it_can_be_searched_exactly",
    "test_a_copy_is_known_by_itself",
    "test_a_forked_process_goes_on_with_it",
    *OnRanks.excluded,
]
"""Of each subject some."""
LIMIT_S = 550.0
"""Of the whole kit, on ranks that share few cores."""


def outcomes(backend: str, shards: int, only: list[str] | None) -> dict[str, str]:
    """How each promise fared, the same on all ranks."""
    ranks = on_ranks(shards, kit, backend, shards, only, limit=LIMIT_S)
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
    ensure_kept("bucketed", 2, [name for name in promises() if "recall" in name or name in OnRanks.excluded])


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
