"""Switches of a memory layer beyond the paper: age, what is cached counted once, a gate by content."""

from typing import Any

import pytest
import torch
from helpers.small_model import ROWS, SEGMENT, build, commit, memories, tokens
from memstack_models.transformer.cache import Cache
from memstack_models.transformer.transformer import local_context


@pytest.mark.parametrize("combine", ["gate", "joint"])
def test_ages_and_candidates_are_a_switch(combine: str) -> None:
    """Off by default, so that a checkpoint from before has every parameter; on, it is learned and moves the logits."""
    plain, aware = build(combine=combine), build(combine=combine, age_init=0.3, candidates=8)
    assert {name for name, _ in aware.named_parameters()} - {name for name, _ in plain.named_parameters()} == {
        "blocks.1.attention.memory_age"
    }
    bank, cache = memories(plain), Cache(plain.config, ROWS)
    commit(bank, cache, plain(tokens(), bank, cache)[1])
    logits = aware(tokens(), bank, cache)[0]
    assert not torch.allclose(logits, plain(tokens(), bank, cache)[0])
    logits.square().mean().backward()
    slopes: Any = aware.attention(2).memory_age
    assert slopes.grad.abs().sum() > 0


def test_a_gate_by_content_differs_from_token_to_token() -> None:
    """It begins as the head's, so that a checkpoint without it goes on as it was, and is learned from there."""
    by_head, by_content = build(combine="gate"), build(combine="gate", gate_form="content")
    bank, cache = memories(by_head), Cache(by_head.config, ROWS)
    commit(bank, cache, by_head(tokens(), bank, cache)[1])
    logits, new = by_content(tokens(), bank, cache)
    torch.testing.assert_close(logits, by_head(tokens(), bank, cache)[0])
    assert len(new.shares.unique()) == 1
    logits.square().mean().backward()
    gate: Any = by_content.attention(2).memory_gate
    with torch.no_grad():
        gate.sub_(gate.grad)
    assert len(by_content(tokens(), bank, cache)[1].shares.unique()) > 1
    with pytest.raises(ValueError, match="gate_form 'content' is a form of combine = 'gate', got combine 'joint'"):
        build(combine="joint", gate_form="content")


@pytest.mark.parametrize(("cache", "seen"), [(2 * SEGMENT, [SEGMENT] * SEGMENT), (SEGMENT, [7, 6, 5, 4, 3, 2, 1, 0])])
def test_what_is_cached_may_count_once(cache: int, seen: list[int]) -> None:
    """A memory that holds no more than a query sees anyway adds nothing."""
    once, twice = build(cached_twice=False, cache=cache), build(cache=cache)
    bank, cached = memories(once), Cache(once.config, ROWS)
    commit(bank, cached, once(tokens(), bank, cached)[1])
    assert local_context(once.config, tokens(), cached).cached.tolist() == [seen] * ROWS
    shares = once(tokens(), bank, cached)[1].shares
    assert bool((shares[..., [q for q in range(SEGMENT) if seen[q] == SEGMENT]] == 0).all())
    assert bool((shares[..., [q for q in range(SEGMENT) if seen[q] == 0]] > 0).all())
    assert bool((twice(tokens(), bank, cached)[1].shares > 0).all())


def test_a_document_that_begins_counts_the_entries_of_others_that_it_sees_in_no_cache() -> None:
    """As with distractors, which stay in the memory when the cache is emptied."""
    model = build(cached_twice=False, cache=SEGMENT)
    bank, cached = memories(model), Cache(model.config, ROWS)
    commit(bank, cached, model(tokens(), bank, cached)[1])
    cached.reset(torch.tensor([True, False]))
    shares = model(tokens(), bank, cached)[1].shares
    assert bool((shares[:, 0] > 0).all())
    assert local_context(model.config, tokens(), cached).cached[0].tolist() == [0] * SEGMENT
