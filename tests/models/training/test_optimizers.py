"""Optimisers and schedules: the paper's and the usual ones."""

from pathlib import Path

import pytest
from helpers.small_run import RSQRT, TINY, trainer
from memstack_models.training.config import RunConfig, TrainConfig
from memstack_models.training.optimizers import learning_rate
from pydantic import ValidationError


def test_adafactor_refuses_what_it_would_clamp() -> None:
    for wrong in ({"schedule": "cosine"}, {"schedule": "rsqrt", "learning_rate": 3.0}):
        with pytest.raises(ValidationError, match="adafactor steps by at most 1/sqrt"):
            TrainConfig.model_validate({"optimizer": "adafactor"} | wrong)


def test_the_papers_scale_learns_under_adafactor(tmp_path: Path) -> None:
    """Its step is relative to the parameter, so that a logarithm that starts at zero would stay there."""
    model = TINY["model"] | {"scale_form": "abs", "scale_init": 1.0}
    run = RunConfig.model_validate(TINY | {"model": model, "train": TINY["train"] | {"optimizer": "adafactor"} | RSQRT})
    paper = trainer(tmp_path / "run", run)
    paper.train()
    layers = range(1, len(paper.model.blocks) + 1)
    scales = [scale for layer in layers for scale in paper.model.attention(layer).scale.tolist()]
    assert all(abs(scale - 1.0) > 0.01 for scale in scales)
    assert all(0.3 < scale < 3.0 for scale in scales)


def test_the_papers_schedule() -> None:
    """Warm-up over 1000 steps to 1/sqrt(1000) = 0.0316, then 1/sqrt(step): 0.00141 at 500k (the paper)."""
    paper = TrainConfig(optimizer="adafactor", learning_rate=1.0, schedule="rsqrt", warmup=1000, steps=500_000)
    assert learning_rate(paper, 999) == pytest.approx(0.0316, abs=1e-4)
    assert learning_rate(paper, 499) == pytest.approx(0.0316 / 2, abs=1e-4)
    assert learning_rate(paper, 499_999) == pytest.approx(0.00141, abs=1e-5)


def test_the_cosine_ends_at_a_tenth() -> None:
    cosine = TrainConfig(learning_rate=1.0, warmup=10, steps=110)
    rates = [learning_rate(cosine, step) for step in range(110)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=1e-2)
