"""What a model does with positions, where that is hard to see."""

import subprocess
import sys

import pytest
import torch
from hf.families import COMMON, text, tiny
from memstack_hf import attach


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@torch.no_grad()
def test_keys_that_hardly_turn_are_rotary_still(dtype: torch.dtype) -> None:
    """As in SmolLM2: keys of equal tokens differ by 4 %, less than half precision may be off."""
    model = tiny("llama", COMMON | {"attention_bias": True})
    for layer in model.model.layers:
        layer.self_attn.k_proj.bias.view(2, 16)[:, [7, 15]] += 40.0  # the slowest pair
    with attach(model.to(dtype), window=16, segment=16) as memory:
        assert [facts.kind for facts in memory.plan.facts.values()] == ["rotary"] * 3


@torch.no_grad()
def test_far_keys_stand_right_in_half_precision() -> None:
    """What is in sight does not depend on where a text is counted from."""
    model, ids = tiny("llama", COMMON).bfloat16(), text(1, 160)
    read = []
    for position in ("true", "fixed"):
        with attach(model, position=position, sinks=0, window=16, segment=16) as memory, memory.disabled():
            logits = memory.read(ids, logits=True)
            assert logits is not None
            read.append(logits.float())
    assert (read[0] - read[1]).abs().mean() < 0.06 * read[0].abs().mean()


def test_importing_the_package_imports_neither_torch_nor_transformers() -> None:
    code = "import sys, memstack_hf; print({'torch', 'transformers'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
