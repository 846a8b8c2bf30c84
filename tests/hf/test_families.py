"""One mechanism for all families: exact with true positions and all neighbours, to the bit with an empty memory."""

from typing import Any

import pytest
import torch
from hf.families import ABSOLUTE, PARTLY, REFUSED, ROTARY, SLIDING, text, tiny
from memstack_hf import AttachError, attach

WHOLE: dict[str, Any] = {"position": "true", "neighbours": 512, "window": 16, "segment": 16, "capacity": 512}
FAMILIES = ROTARY | PARTLY | ABSOLUTE | SLIDING


def settings_of(family: str) -> dict[str, Any]:
    return WHOLE | ({"window": 24} if family in SLIDING else {})


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_reading_in_segments_is_full_attention(family: str) -> None:
    model, ids = tiny(family, FAMILIES[family]), text(2, 120)
    full = model(ids).logits
    with attach(model, **settings_of(family)) as memory:
        read = memory.read(ids, logits=True)
        remembered = memory.remembered
        memory.reset()
        with memory.disabled():
            alone = memory.read(ids, logits=True)
    assert read is not None
    assert alone is not None
    assert (read - full).abs().max() < 1e-4
    assert (alone - full).abs().max() > 0.05, "the text should need what is out of sight"
    assert remembered.min() >= 80


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_an_empty_memory_and_a_detached_one_change_no_bit(family: str) -> None:
    model, ids = tiny(family, FAMILIES[family]), text(2, 16)
    before, names = model(ids).logits, list(model.state_dict())
    memory = attach(model, **settings_of(family))
    assert torch.equal(model(ids).logits, before)
    assert list(model.state_dict()) == names
    memory.detach()
    memory.detach()
    assert torch.equal(model(ids).logits, before)
    assert not any("_memstack_listener" in module.__dict__ for module in model.modules())


@pytest.mark.parametrize("family", ROTARY | PARTLY)
def test_what_rotates_is_found_out(family: str) -> None:
    with attach(tiny(family, FAMILIES[family]), window=16, segment=16) as memory:
        kinds = [facts.kind for facts in memory.plan.facts.values()]
    assert kinds == (["rotary", "free", "rotary"] if family in PARTLY else ["rotary"] * 3)


@pytest.mark.parametrize("family", SLIDING)
def test_layers_that_slide_are_left_alone(family: str) -> None:
    model = tiny(family, SLIDING[family])
    with attach(model) as memory:
        assert memory.plan.layers
        assert all(memory.plan.facts[layer].sliding is None for layer in memory.plan.layers)
        assert memory.plan.window >= 24


@pytest.mark.parametrize("family", ABSOLUTE)
@torch.no_grad()
def test_positions_that_cannot_be_moved_end_with_the_native_context(family: str) -> None:
    model = tiny(family, ABSOLUTE[family])
    with pytest.raises(AttachError, match="positions that cannot be moved"):
        attach(model, position="fixed")
    with attach(model, window=64, segment=64) as memory:
        memory.read(text(1, 512))
        assert memory.seen.tolist() == [512]
        with pytest.raises(AttachError, match=r"up to 512.*reset"):
            model(text(1, 1))
        memory.reset()
        memory.read(text(1, 8))


@pytest.mark.parametrize("family", REFUSED)
def test_what_cannot_be_served_is_refused_with_the_reason(family: str) -> None:
    config, reason = REFUSED[family]
    model, ids = tiny(family, config), text(1, 8)
    before = model(ids).logits
    with pytest.raises(AttachError, match=reason):
        attach(model)
    assert torch.equal(model(ids).logits, before)
