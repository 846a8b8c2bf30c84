"""What is refused: in one clear line, before anything is changed."""

from typing import Any

import pytest
import torch
from hf.families import COMMON, text, tiny
from memstack_hf import AttachError, attach
from memstack_hf.model.probe import cache_argument
from transformers import DynamicCache, GPT2Config, GPT2Model, StaticCache, T5Config, T5ForConditionalGeneration

from memstack import OptionsError, ShapeError, UnknownBackendError

SMALL: dict[str, Any] = {"window": 16, "segment": 16, "neighbours": 8, "capacity": 64}


def test_what_is_no_causal_language_model_is_refused() -> None:
    small: dict[str, Any] = {"num_layers": 1, "d_model": 16, "d_ff": 16, "num_heads": 2, "d_kv": 8, "vocab_size": 11}
    with pytest.raises(AttachError, match="encoder-decoder"):
        attach(T5ForConditionalGeneration(T5Config(**small)))
    with pytest.raises(AttachError, match="predicts no tokens"):
        attach(GPT2Model(GPT2Config(n_embd=16, n_layer=1, n_head=2)))
    with pytest.raises(AttachError, match="got a Linear"):
        attach(torch.nn.Linear(2, 2))
    model = tiny("llama", COMMON)
    with attach(model), pytest.raises(AttachError, match="has a memory already"):
        attach(model)


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"layers": [7]}, OptionsError, r"layers 0 to 2, got \[7\]"),
        ({"layers": []}, OptionsError, "one or more different layers"),
        ({"layers": [1], "far_layers": [2]}, OptionsError, "far_layers"),
        ({"far_layers": [9]}, OptionsError, "far_layers 9 have no memory; layers with one are 0-2"),
        ({"capacity": 0}, OptionsError, "capacity"),
        ({"neighbors": 3}, OptionsError, "did you mean neighbours|not a known key"),
        ({"position": "near"}, OptionsError, "position"),
        ({"window": 500}, OptionsError, "should fit the 512 positions"),
        ({"backend": "exakt"}, UnknownBackendError, "exact"),
        ({"options": {"depth": 3}}, OptionsError, "depth"),
    ],
)
def test_a_setting_that_is_wrong_is_told_and_the_model_is_as_before(
    settings: dict[str, Any], error: type[Exception], says: str
) -> None:
    model, ids = tiny("llama", COMMON), text(1, 8)
    before = model(ids).logits
    with pytest.raises(error, match=says):
        attach(model, **settings)
    assert torch.equal(model(ids).logits, before)
    assert model.config._attn_implementation == "sdpa"


@torch.no_grad()
def test_a_forward_that_a_memory_cannot_follow_is_refused_and_nothing_is_lost() -> None:
    model, ids = tiny("llama", COMMON), text(1, 40)
    foreign = DynamicCache()
    foreign.update(torch.zeros(1, 2, 3, 16), torch.zeros(1, 2, 3, 16), 0)
    packed = torch.tensor([[0, 1, 2, 0]])
    with attach(model, **SMALL) as memory:
        memory.read(ids)
        wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
            ({cache_argument(model): foreign}, AttachError, "DynamicCache of 3 tokens"),
            ({cache_argument(model): StaticCache(model.config, max_cache_len=8)}, AttachError, "StaticCache"),
            ({"use_cache": False}, AttachError, "use_cache=False.*window=0, sinks=0"),
            ({"position_ids": packed}, ShapeError, "count on by one"),
            ({"attention_mask": torch.ones(1, 1, 4, 4)}, ShapeError, "attention_mask should be"),
            ({"input_ids": text(3, 4)}, ShapeError, "holds 1 rows"),
        ]
        for given, error, says in wrong[:-1]:
            with pytest.raises(error, match=says):
                model(**({"input_ids": ids[:, :4]} | given))
        with pytest.raises(AttachError, match="does not fit the 512 positions"):
            model(text(1, 600))
        with pytest.raises(ShapeError, match="padding between"):
            memory.read(ids[:, :4], torch.tensor([[1, 0, 1, 1]]))
        with pytest.raises(ShapeError, match="one per row"):
            memory.reset(torch.tensor([True, False]))
        with pytest.raises(NotImplementedError, match="cannot take back tokens"):
            memory.cache.crop(1)
        assert memory.seen.tolist() == [40]
        after = model(ids[:, :4]).logits
        memory.reset()
        memory.read(ids)
        assert torch.equal(after, model(ids[:, :4]).logits)
