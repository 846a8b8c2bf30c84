"""What people do with a model, with a memory attached."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hf.families import COMMON, text, tiny
from memstack_hf import attach, from_pretrained
from peft import LoraConfig, get_peft_model

from memstack import ShapeError, StateError

SMALL: dict[str, Any] = {"window": 16, "segment": 16, "neighbours": 8, "capacity": 64}
WHOLE: dict[str, Any] = {"window": 16, "segment": 16, "neighbours": 256, "capacity": 256, "position": "true"}


@torch.no_grad()
@pytest.mark.parametrize("how", [{"do_sample": False}, {"do_sample": True, "top_k": 5, "num_return_sequences": 3}])
def test_generation_sees_what_was_read_and_remembers_what_it_wrote(how: dict[str, Any]) -> None:
    model, book, question = tiny("llama", COMMON), text(1, 150), text(1, 10, seed=3)
    torch.manual_seed(0)
    expected = model.generate(torch.cat([book, question], 1), max_new_tokens=40, min_new_tokens=40, **how)[:, 160:]
    with attach(model, **WHOLE) as memory:
        memory.read(book)
        torch.manual_seed(0)
        assert torch.equal(model.generate(question, max_new_tokens=40, min_new_tokens=40, **how)[:, 10:], expected)
        assert set(memory.seen.tolist()) == {150 + 10 + 39}
        assert int(memory.remembered.min()) > 150  # of what was generated, too


@torch.no_grad()
def test_forwards_of_any_length_go_on_from_one_another() -> None:
    model, ids = tiny("llama", COMMON), text(2, 130)
    full = model(ids).logits
    with attach(model, **WHOLE) as memory:
        parts = [model(part).logits for part in ids.split([1, 40, 7, 32, 1, 1, 48], 1)]
        torch.testing.assert_close(torch.cat(parts, 1), full, rtol=0, atol=1e-4)
        memory.reset()
        last = model(ids, logits_to_keep=1).logits
        torch.testing.assert_close(last, full[:, -1:], rtol=0, atol=1e-4)
        inner = model.base_model(text(2, 3)).last_hidden_state  # which some call by itself
        assert memory.seen.tolist() == [133, 133]
        assert torch.isfinite(inner).all()


@torch.no_grad()
def test_a_paused_memory_is_the_window_alone() -> None:
    model, ids = tiny("llama", COMMON), text(1, 100)
    with attach(model, **SMALL) as memory:
        with memory.disabled():
            alone = memory.read(ids, logits=True)
            assert memory.remembered.tolist() == [0]
        memory.reset()
        read = memory.read(ids, logits=True)
        assert alone is not None
        assert read is not None
        assert torch.equal(alone[:, :32], read[:, :32])
        assert (alone - read).abs().max() > 0.01


def test_training_without_a_cache_is_the_same_with_gradient_checkpointing() -> None:
    model, ids = tiny("llama", COMMON).train(), text(2, 64)
    later = hasattr(model, "activation_checkpointing_enable")  # as it is called since transformers 5.20
    recomputing = "activation_checkpointing" if later else "gradient_checkpointing"
    found = []
    for recompute in (False, True):
        with attach(model, window=0, sinks=0, segment=16, neighbours=8, capacity=64) as memory:
            if recompute:
                getattr(model, f"{recomputing}_enable")({"use_reentrant": False})
            for part in ids.split(16, 1):
                model.zero_grad()
                model(part, labels=part, use_cache=False).loss.backward()
            memory.settle()
            assert memory.seen.tolist() == memory.remembered.tolist() == [64, 64]
            found.append([each.grad.clone() for each in model.parameters()])
            getattr(model, f"{recomputing}_disable")()
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_scale_and_bias_learn_and_are_no_part_of_the_model() -> None:
    model, ids = tiny("llama", COMMON).train(), text(2, 96)
    names = list(model.state_dict())
    with attach(model, age=0.1, **SMALL) as memory:
        assert [name for name, _ in memory.named_parameters()] == ["log_scale", "bias", "age"]
        for part in ids.split(16, 1):
            model(part, labels=part).loss.backward()
        for name, parameter in memory.named_parameters():
            assert parameter.grad is not None, name
            assert float(parameter.grad.abs().max()) > 0, name
        assert list(model.state_dict()) == names
        assert not {*map(id, memory.parameters())} & {*map(id, model.parameters())}


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks for it
@pytest.mark.parametrize("before", [False, True])
def test_adapters_of_peft_come_before_or_after(before: bool, tmp_path: Path) -> None:
    model, ids = tiny("llama", COMMON), text(1, 64)
    lora = LoraConfig(r=2, target_modules=["q_proj", "k_proj"], init_lora_weights=False)
    with torch.no_grad():
        if before:
            wrapped = get_peft_model(model, lora)
            memory = attach(wrapped, **SMALL)
        else:
            memory = attach(model, **SMALL)
            wrapped = get_peft_model(model, lora)
        memory.read(ids)
        assert memory.seen.tolist() == [64]
        assert torch.isfinite(wrapped(ids[:, :4]).logits).all()
        assert wrapped.generate(input_ids=ids[:, :4], max_new_tokens=3, do_sample=False).shape == (1, 7)
    wrapped.save_pretrained(str(tmp_path))
    assert not [path for path in tmp_path.iterdir() if "memory" in path.name]
    memory.detach()


@torch.no_grad()
def test_a_compiled_model_reads_the_same() -> None:
    model, ids = tiny("llama", COMMON), text(1, 64)
    with attach(model, **SMALL) as memory:
        expected = [model(part).logits for part in ids.split(16, 1)]
        memory.reset()
        compiled = torch.compile(model, backend="aot_eager")
        found = [compiled(part).logits for part in ids.split(16, 1)]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_is_close_to_full_attention(dtype: torch.dtype) -> None:
    model, ids = tiny("llama", COMMON).to(dtype), text(1, 96)
    full = model(ids).logits
    with attach(model, **WHOLE) as memory:
        assert {facts.kind for facts in memory.plan.facts.values()} == {"rotary"}
        read = memory.read(ids, logits=True)
    assert read is not None
    assert read.dtype == dtype
    assert (read - full).float().abs().mean() < 0.03 * full.float().abs().mean()


@pytest.mark.parametrize("backend", ["bucketed", "hnsw", "faiss-ivf"])
@torch.no_grad()
def test_the_backend_is_one_word(backend: str) -> None:
    model, ids = tiny("llama", COMMON), text(1, 96)
    with attach(model, **SMALL) as memory:
        exact = memory.read(ids, logits=True)
    with attach(model, backend=backend, **SMALL) as memory:
        read = memory.read(ids, logits=True)
    assert read is not None
    assert exact is not None
    assert (read - exact).abs().mean() < 0.2 * exact.abs().mean()


@torch.no_grad()
def test_another_model_is_left_alone() -> None:
    one, other, ids = tiny("llama", COMMON), tiny("llama", COMMON, seed=5), text(1, 40)
    before = other(ids).logits
    with attach(one, **SMALL) as memory:
        memory.read(text(1, 60))
        assert torch.equal(other(ids).logits, before)
        with attach(other, **SMALL) as second:
            second.read(ids)
            assert (memory.seen.tolist(), second.seen.tolist()) == ([60], [40])


@torch.no_grad()
def test_a_memory_is_saved_with_what_it_learned_and_holds(tmp_path: Path) -> None:
    model, book, question = tiny("llama", COMMON), text(2, 100), text(2, 5, seed=3)
    with attach(model, **SMALL) as memory:
        memory.bias.fill_(0.5)
        memory.read(book)
        memory.save_pretrained(tmp_path / "full", contents=True)
        memory.save_pretrained(tmp_path / "bare")
        expected = model(question).logits
    with from_pretrained(model, tmp_path / "full") as memory:
        assert memory.seen.tolist() == [100, 100]
        assert torch.equal(model(question).logits, expected)
    with from_pretrained(model, tmp_path / "bare") as memory:
        assert memory.seen.tolist() == []
        assert float(memory.bias.min()) == 0.5
    with pytest.raises(StateError, match="another model remembered"):
        from_pretrained(tiny("llama", COMMON, seed=8), tmp_path / "full")
    with pytest.raises(StateError, match="should hold a memory's settings"):
        from_pretrained(model, tmp_path)
    (tmp_path / "full" / "contents.safetensors").write_bytes(b"damaged")
    with pytest.raises(StateError, match="cannot be read as safetensors"):
        from_pretrained(model, tmp_path / "full")
    assert model.config._attn_implementation == "sdpa"


@torch.no_grad()
def test_layers_are_calibrated_by_loss() -> None:
    model, ids = tiny("llama", COMMON | {"num_hidden_layers": 6}), text(1, 100)
    with attach(model, **SMALL) as memory:
        chosen = memory.calibrate(ids)
        assert chosen == memory.plan.far_layers
        assert {*chosen} <= {*range(6)}
        assert memory.seen.tolist() == []
        with pytest.raises(ShapeError, match="65 tokens or more, twice what is in sight, got 20"):
            memory.calibrate(ids[:, :20])


@torch.no_grad()
def test_a_forward_that_fails_on_its_way_has_read_nothing() -> None:
    model, ids = tiny("llama", COMMON), text(1, 64)

    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    with attach(model, **SMALL) as memory:
        memory.read(ids)
        handle = model.model.layers[1].mlp.register_forward_hook(fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            model(ids[:, :16])
        handle.remove()
        after = model(ids[:, :16]).logits
        assert memory.seen.tolist() == [80]
        memory.reset()
        memory.read(ids)
        assert torch.equal(after, model(ids[:, :16]).logits)


def test_a_copy_of_a_model_has_no_part_in_its_memory() -> None:
    model, ids = tiny("llama", COMMON), text(1, 40)
    with torch.no_grad(), attach(model, **SMALL) as memory:
        memory.read(ids)
        other = copy.deepcopy(model)
        read = other(ids).logits
        assert memory.seen.tolist() == [40]
    assert torch.equal(read, model(ids).logits)
