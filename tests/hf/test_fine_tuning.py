"""Training with a memory: what adapters are laid beside, and what keeps a graph."""

from typing import Any

import pytest
import torch
from hf.families import ABSOLUTE, COMMON, PARTLY, ROTARY, text, tiny
from memstack_hf import attach
from peft import LoraConfig, get_peft_model

SMALL: dict[str, Any] = {"window": 16, "segment": 16, "neighbours": 8, "capacity": 64}
TOGETHER = {
    **dict.fromkeys(("gpt_neox", "persimmon"), "query_key_value"),
    **dict.fromkeys(("phi3", "codegen"), "qkv_proj"),
    **dict.fromkeys(("gpt2", "gpt_bigcode"), "c_attn"),
}
"""Families that make queries, keys and values by one matrix; the others have ``q_proj`` and ``k_proj``."""
FAMILIES = ROTARY | PARTLY | ABSOLUTE
quiet = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks for it


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_what_makes_queries_and_keys_is_found_out(family: str) -> None:
    model = tiny(family, FAMILIES[family]).requires_grad_(False)
    with attach(model, layers=[1, 2], **SMALL) as memory:
        memory.read(text(1, 64))
        names = memory.projections()
        assert memory.seen.tolist() == [64]
        kinds = [TOGETHER[family]] if family in TOGETHER else ["q_proj", "k_proj"]
        assert sorted(name.rpartition(".")[2] for name in names) == sorted(kinds * 2)
        assert len({name.rpartition(".")[0] for name in names}) == 2
        went_on = model(text(1, 16, seed=3)).logits
        memory.reset()
        memory.read(text(1, 64))
        assert torch.equal(went_on, model(text(1, 16, seed=3)).logits)


@quiet
def test_adapters_lie_beside_the_layers_that_search_and_below_them_is_no_graph() -> None:
    model, ids = tiny("llama", COMMON | {"num_hidden_layers": 6}).requires_grad_(False).train(), text(2, 96)
    with attach(model, position="fixed", far_layers=[3, 4], **SMALL) as memory:
        memory.requires_grad_(False)
        adapted = get_peft_model(model, LoraConfig(r=2, target_modules=memory.projections(), init_lora_weights=False))
        trained = {name for name, each in adapted.named_parameters() if each.requires_grad}
        assert {name.partition(".layers.")[2].partition(".lora")[0] for name in trained} == {
            f"{layer}.self_attn.{kind}_proj" for layer in (3, 4) for kind in "qk"
        }
        for part in ids.split(16, 1):
            adapted(input_ids=part, labels=part).loss.backward()
            new = [layer.new for layer in memory.cache.each]
            assert [pair is not None and pair[0].requires_grad for pair in new] == [False] * 3 + [True] * 3
            assert not any(pair[0].requires_grad for layer in memory.cache.each if (pair := layer.pair) is not None)
        state = memory.snapshot().remembered
        assert not any(part.requires_grad for part in state.values())
        assert int(memory.remembered.min()) > 0
        assert {f"base_model.model.{name}.lora_A.default.weight" for name in memory.projections()} < trained
