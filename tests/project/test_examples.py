"""The examples, each run at a small size. The plugin is installed and trained with in tests/core/plugins."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_corpus import write_corpus

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / name))


def test_an_own_layer_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text"
    text.write_text("the cat sat on the mat. " * 400, encoding="utf-8")
    torch.manual_seed(0)
    with_memory, without = example("own_layer.py")["main"](text, "exact", 12)
    assert with_memory < 7.0  # bits per byte; 8 is what an untrained model needs
    assert with_memory != without
    assert "step 12" in capsys.readouterr().out


def test_a_recipe_trains_from_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = write_corpus(tmp_path / "corpus", documents=2, words=300)
    small = ["train.steps=9", "train.warmup=1", "train.segment=32", "train.rows=2", "train.log_every=9"]
    perplexities = example("train.py")["main"](tmp_path / "run", [*small, f"data.corpus={corpus}"])
    assert set(perplexities) == {"with its memory", "without"}
    assert all(1 < perplexity < 257 for perplexity in perplexities.values())  # guessing at random: 257
    assert '"step":9' in capsys.readouterr().out
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file()
