"""Evaluation: every held-out token once, at its position, with the memory and without."""

import math
from pathlib import Path

import pytest
import torch
from memstack_models.training.config import RunConfig
from memstack_models.training.perplexity import BUCKETS, Evaluation, evaluate
from memstack_models.training.streams import evaluation_stream
from memstack_models.transformer.transformer import Transformer

RUN = RunConfig.model_validate(
    {
        "model": {"preset": "tiny", "dim": 16, "ffn_dim": 32},
        "memory": {"capacity": 64, "neighbours": 4},
        "train": {"segment": 16},
        "eval": {"rows": 2},
    }
)
CPU = torch.device("cpu")
BYTES = torch.full((32,), 3)


def documents() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(32, (length,), generator=generator) for length in (50, 17, 33, 2)]


def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(RUN.model, 32, RUN.memory.neighbours)


def test_every_token_is_counted_once() -> None:
    stream = evaluation_stream(RUN, documents(), CPU, RUN.memory)
    counted: list[int] = []
    result = evaluate(model(), stream, BYTES, counted.append)
    assert int(result.tokens.sum()) == sum(counted) == 49 + 16 + 32 + 1
    assert int(result.text_bytes.sum()) == 3 * 98


def test_a_uniform_model_has_the_vocabularys_perplexity() -> None:
    uniform = model()
    torch.nn.init.zeros_(uniform.norm.weight)
    result = evaluate(uniform, evaluation_stream(RUN, documents(), CPU, None), BYTES)
    assert result.perplexity() == pytest.approx(32)
    assert result.bits_per_byte == pytest.approx(math.log2(32) / 3)


def test_batching_documents_changes_nothing() -> None:
    """A document's perplexity does not depend on what is read beside it or before it in the same row."""
    judge = model()
    alone = [evaluate(judge, evaluation_stream(RUN, [d], CPU, RUN.memory), BYTES) for d in documents()]
    together = evaluate(judge, evaluation_stream(RUN, documents(), CPU, RUN.memory), BYTES)
    assert float(together.nats.sum()) == pytest.approx(sum(float(result.nats.sum()) for result in alone), rel=1e-5)


def test_the_memory_can_be_switched_off_and_resized() -> None:
    judge = model()
    off = evaluate(judge, evaluation_stream(RUN, documents(), CPU, None), BYTES).perplexity()
    sizes = [RUN.memory.model_copy(update={"capacity": size}) for size in (8, 64)]
    on = [evaluate(judge, evaluation_stream(RUN, documents(), CPU, size), BYTES).perplexity() for size in sizes]
    assert len({off, *on}) == 3


def test_positions_fall_into_their_stretches() -> None:
    result = Evaluation()
    positions = torch.tensor([0, 1023, 1024, 4095, 4096, 16384, 65536, 262144])
    result.add(positions, torch.ones(8), torch.ones(8, dtype=torch.int64))
    assert dict(zip(BUCKETS, result.tokens.tolist(), strict=True)) == {
        "0-1k": 2, "1k-4k": 2, "4k-16k": 1, "16k-64k": 1, "64k-256k": 1, "256k+": 1
    }  # fmt: skip
    assert result.by_position()["4k-16k"] == pytest.approx(math.e)
    assert result.perplexity(BUCKETS.index("4k-16k")) == pytest.approx(math.e)


def test_evaluation_leaves_the_models_mode_and_gradients_alone(tmp_path: Path) -> None:
    judge = model().train()
    evaluate(judge, evaluation_stream(RUN, documents(), CPU, RUN.memory), BYTES)
    assert judge.training
    assert all(weight.grad is None for weight in judge.parameters())
