"""The model: the paper's shapes, its two ways of combining, and who may see what."""

from typing import Any

import pytest
import torch
from helpers.small_model import ROWS, SEGMENT, VOCABULARY, build, commit, memories, tokens
from memstack_models.transformer.cache import Cache
from memstack_models.transformer.config import ModelConfig
from memstack_models.transformer.transformer import Transformer, local_context, relative_bucket
from pydantic import ValidationError
from torch import Tensor

from memstack import MemoryBank


@pytest.mark.parametrize(
    ("preset", "millions", "without_embedding"),
    [("paper-200m", 183.9, 151.0), ("paper-1b", 871.1, 805.3), ("paper-8b", 6574.2, 6442.6)],
)
def test_the_papers_shapes_have_the_papers_sizes(preset: str, millions: float, without_embedding: float) -> None:
    with torch.device("meta"):
        model = Transformer(ModelConfig.model_validate({"preset": preset}), vocab_size=32128)
    total = sum(weight.numel() for weight in model.parameters())
    assert total / 1e6 == pytest.approx(millions, abs=0.05)
    assert (total - model.embedding.weight.numel()) / 1e6 == pytest.approx(without_embedding, abs=0.05)


def test_the_paper_preset_is_the_papers_form() -> None:
    config = ModelConfig.model_validate({"preset": "paper-200m"})
    assert (config.layers, config.dim, config.heads, config.head_dim, config.ffn_dim) == (12, 1024, 8, 128, 4096)
    assert (config.memory_layers, config.combine, config.smear_keys, config.cache) == ((9,), "gate", False, 512)


@pytest.mark.parametrize("combine", ["gate", "joint"])
@pytest.mark.parametrize("smear_keys", [True, False])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_everything_gets_a_finite_gradient(combine: str, smear_keys: bool, kv_heads: int) -> None:
    """Also at a document's start, where the memory is empty, and while it is underfilled."""
    model = build(combine=combine, smear_keys=smear_keys, kv_heads=kv_heads, cache=4)
    bank, cache = memories(model), Cache(model.config, ROWS)
    for segment in tokens(3).split(SEGMENT, dim=1):
        logits, new = model(segment, bank, cache)
        model.zero_grad()
        logits.square().mean().backward()
        assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
        commit(bank, cache, new)
    gate: Any = model.attention(2).memory_bias
    assert gate.grad.abs().sum() > 0


@pytest.mark.parametrize("combine", ["gate", "joint"])
def test_an_empty_memory_is_local_attention_alone(combine: str) -> None:
    model = build(combine=combine)
    with_empty, _ = model(tokens(), memories(model))
    without, _ = model(tokens())
    torch.testing.assert_close(with_empty, without)


def test_the_released_codes_empty_memory_takes_the_gates_share() -> None:
    """With ``zeros`` a head whose memory is empty is scaled by 1 - g: one half, at first."""
    model = build(combine="gate", layers=1, memory_layers=[1], empty_memory="zeros")
    attention, x = model.attention(1), torch.randn(ROWS, SEGMENT, 64)
    context = local_context(model.config, tokens(), None)
    local, _, _ = attention(x, None, context, None, 4)
    scaled, _, share = attention(x, None, context, memories(model)[1], 4)
    torch.testing.assert_close(scaled, 0.5 * local)
    assert (share == 0.5).all()


@pytest.mark.parametrize("combine", ["gate", "joint"])
def test_only_the_memory_tells_of_earlier_segments(combine: str) -> None:
    """Without a cache, what was read before reaches the logits through the memory and through nothing else."""
    model = build(combine=combine, smear_keys=False)
    first, second = tokens(2).split(SEGMENT, dim=1)
    bank, cache = memories(model), Cache(model.config, ROWS)
    _, new = model(first, bank, cache)
    commit(bank, cache, new)
    with_memory, _ = model(second, bank, cache)
    torch.testing.assert_close(model(second, None, cache)[0], model(second)[0])
    assert not torch.allclose(with_memory, model(second)[0])


def test_forward_only_reads() -> None:
    model = build()
    bank = memories(model)
    first, _ = model(tokens(), bank)
    again, _ = model(tokens(), bank)
    assert bank[2].lengths.tolist() == [0, 0]
    torch.testing.assert_close(first, again, rtol=0, atol=0)


def test_a_segment_never_finds_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second segment finds entries of the first only; what is stored carries no gradient back."""
    model = build()
    bank, cache = memories(model), Cache(model.config, ROWS)
    found: list[Tensor] = []
    search = bank[2].search
    monkeypatch.setattr(bank[2], "search", lambda q, k: found.append((r := search(q, k)).positions) or r)
    for segment in tokens(2).split(SEGMENT, dim=1):
        _, new = model(segment, bank, cache)
        assert not any(layer.keys.requires_grad or layer.values.requires_grad for layer in new.layers)
        commit(bank, cache, new)
    first, second = found
    assert (first == -1).all()
    assert second.min() >= 0
    assert second.max() == SEGMENT - 1
    assert bank[2].lengths.tolist() == [2 * SEGMENT] * ROWS


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("combine", ["gate", "joint"])
def test_no_token_sees_the_future_or_another_row(include_self: bool, combine: str) -> None:
    """Through three segments with memory and cache: a change moves no logit before it, and none of the other row."""
    model = build(include_self=include_self, combine=combine, cache=4, memory_layers=[1, 2])

    def read(text: Tensor) -> Tensor:
        bank, cache = memories(model), Cache(model.config, ROWS)
        logits = []
        for segment in text.split(SEGMENT, dim=1):
            part, new = model(segment, bank, cache)
            commit(bank, cache, new)
            logits.append(part)
        return torch.cat(logits, dim=1)

    text, changed = tokens(3), tokens(3)
    changed[0, 13:] = (changed[0, 13:] + 1) % VOCABULARY
    before, after = read(text), read(changed)
    torch.testing.assert_close(after[0, :13], before[0, :13], rtol=0, atol=0)
    torch.testing.assert_close(after[1], before[1], rtol=0, atol=0)
    assert not torch.allclose(after[0, 13:], before[0, 13:])


def test_a_cache_joins_segments_into_one_window() -> None:
    """Two segments with a cache give what one long segment gives."""
    model = build(cache=2 * SEGMENT)
    both = tokens(2)
    cache = Cache(model.config, ROWS)
    _, new = model(both[:, :SEGMENT], None, cache)
    cache.add(new.layers)
    second, _ = model(both[:, SEGMENT:], None, cache)
    whole, _ = model(both, None, Cache(model.config, ROWS))
    torch.testing.assert_close(second, whole[:, SEGMENT:])


def test_every_token_sees_a_window_as_long_as_the_cache() -> None:
    """Once the cache is filled each token sees just as many; before, only what its document has."""
    config = build(cache=SEGMENT).config
    cache = Cache(config, ROWS)
    assert local_context(config, tokens(), cache).visible.sum(-1)[0, 0].tolist() == list(range(1, SEGMENT + 1))
    cache.filled += SEGMENT
    assert local_context(config, tokens(), cache).visible.sum(-1)[0, 0].tolist() == [SEGMENT] * SEGMENT


def test_a_short_cache_hides_nothing_of_the_segment() -> None:
    config = build(cache=2).config
    cache = Cache(config, ROWS)
    cache.filled += 2
    seen = local_context(config, tokens(), cache).visible.sum(-1)[0, 0].tolist()
    assert seen == [3, 4, 5, 6, 7, 8, 8, 8]


def test_a_reset_row_forgets_its_cache_and_no_other_does() -> None:
    model = build(cache=4)
    cache = Cache(model.config, ROWS)
    _, new = model(tokens(), None, cache)
    cache.add(new.layers)
    before = model(tokens(), None, cache)[0]
    cache.reset(torch.tensor([True, False]))
    after = model(tokens(), None, cache)[0]
    torch.testing.assert_close(after[0], model(tokens(), None, Cache(model.config, ROWS))[0][0])
    torch.testing.assert_close(after[1], before[1], rtol=0, atol=0)


def test_smearing_reaches_across_segments() -> None:
    """The first key of a segment is mixed with the last of the one before, so that segment borders do not show."""
    model = build(layers=1, memory_layers=[1])
    both = tokens(2)
    cache = Cache(model.config, ROWS)
    _, first = model(both[:, :SEGMENT], None, cache)
    cache.add(first.layers)
    _, second = model(both[:, SEGMENT:], None, cache)
    _, whole = model(both)
    torch.testing.assert_close(second.layers[0].keys, whole.layers[0].keys[:, :, SEGMENT:])


def test_grouped_queries_share_a_memory_head() -> None:
    """One key/value head for both query heads is the model whose two heads have equal keys and values."""
    grouped, plain = build(kv_heads=1), build(kv_heads=2)
    weights = grouped.state_dict()
    for i in range(2):
        for name in ("key", "value"):
            shared = weights[f"blocks.{i}.attention.{name}.weight"]
            weights[f"blocks.{i}.attention.{name}.weight"] = torch.cat([shared, shared])
        weights[f"blocks.{i}.attention.smear"] = weights[f"blocks.{i}.attention.smear"].repeat(2)
    plain.load_state_dict(weights)
    outputs = []
    for model in (grouped, plain):
        bank, cache = memories(model), Cache(model.config, ROWS)
        commit(bank, cache, model(tokens(), bank, cache)[1])
        outputs.append(model(tokens(2)[:, SEGMENT:], bank, cache)[0])
    torch.testing.assert_close(*outputs)


def test_the_gate_is_one_half_at_first() -> None:
    model = build(combine="gate")
    bank, cache = memories(model), Cache(model.config, ROWS)
    commit(bank, cache, model(tokens(), bank, cache)[1])
    torch.testing.assert_close(model(tokens(), bank, cache)[1].memory_share, torch.full((1, 2), 0.5))


def test_relative_buckets_are_t5s() -> None:
    """Exact up to half the buckets, then logarithmic; everything beyond the distance shares the last one."""
    distance = torch.tensor([[0, 1, 15, 16, 17, 64, 127, 128, 100_000]])
    assert relative_bucket(distance, 32, 128).tolist() == [[0, 1, 15, 16, 16, 26, 31, 31, 31]]


@pytest.mark.parametrize("cached", [0, 5])
def test_every_score_gets_the_bias_of_its_distance(cached: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked up once per distance, it is what a lookup per score gives, and so is its gradient."""
    model = build(cache=cached)
    attention = model.attention(2)
    given: dict[str, Tensor] = {}

    def attended(queries: Tensor, *_: Tensor, bias: Tensor, **__: object) -> tuple[Tensor, Tensor]:
        given["bias"] = bias
        return queries, queries[..., 0]

    monkeypatch.setattr("memstack_models.transformer.attention.local_attention", attended)
    assert attention.relative_bias is not None
    torch.nn.init.normal_(attention.relative_bias)
    cache = Cache(model.config, ROWS) if cached else None
    total = cached + SEGMENT
    queries, keys = torch.zeros(1, 2, SEGMENT, 16), torch.zeros(1, 2, total, 16)
    attention._local(queries, keys, keys, local_context(model.config, tokens(), cache))
    distance = torch.arange(cached, total)[:, None] - torch.arange(total)
    bucket = relative_bucket(distance.clamp(min=0), model.config.relative_buckets, model.config.relative_distance)
    wanted = attention.relative_bias[:, bucket] * attention.score_scale()[:, None, None]
    torch.testing.assert_close(given["bias"], wanted, rtol=0, atol=0)
    of = (attention.relative_bias, attention.scale)
    gradients = [torch.autograd.grad(bias.sin().sum(), of) for bias in (given["bias"], wanted)]
    torch.testing.assert_close(*gradients)


def test_a_bank_of_other_layers_is_refused() -> None:
    model = build(memory_layers=[1, 2])
    bank = memories(model)
    with pytest.raises(ValueError, match=r"memory layers \(1, 2\) need a memory each, the bank has layers \(1,\)"):
        model(tokens(), MemoryBank({1: bank[1]}))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"memory_layers": [3]}, "should lie within 1 to layers"),
        ({"memory_layers": [2, 2]}, "names a layer twice"),
        ({"kv_heads": 3}, "should be a multiple of kv_heads"),
        ({"heads": 0}, "greater than or equal to 1"),
        ({"relative_distance": 16}, "should exceed half of relative_buckets"),
        ({"relative_buckets": 1}, "should exceed half of relative_buckets"),
    ],
)
def test_impossible_shapes_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelConfig.model_validate({"preset": "tiny"} | wrong)
