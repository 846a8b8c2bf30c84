"""The checkpoint that ships: small, made by its recipe, and its memory is worth something."""

import pytest
import torch
from memstack_models import runs
from memstack_models.checkpoint import FILE
from memstack_models.data import evaluation_stream, tokenized
from memstack_models.evaluation import BEYOND_4K, evaluate

SHIPPED = runs.find("stdlib-small")


def test_it_is_small_and_whole() -> None:
    names = {path.name for path in SHIPPED.iterdir()}
    assert names == {"checkpoint.safetensors", "config.toml", "log.jsonl", "tokenizer.json", "tokenizer.sha256"}
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 12e6
    assert (SHIPPED / FILE).stat().st_size < 2.1 * 1e6


def test_its_recipe_is_the_one_in_the_repository() -> None:
    runs.refuse_other(SHIPPED, runs.recipe("stdlib-small", []))


def test_its_log_says_when_the_gain_appeared() -> None:
    log = runs.read_log(SHIPPED)
    assert [entry["step"] for entry in log if entry.get("gain appears")] == [500]
    assert log[-1]["step"] == 5000


def test_its_memory_lowers_perplexity(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the first 4k tokens of held-out documents, by far more than the tenth that is promised."""
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path_factory.mktemp("cache")))
    run = runs.read_config(SHIPPED, ["eval.documents=2", "eval.tokens=6144", "memory.capacity=8192"])
    model, tokenizer = runs.load_model(SHIPPED, run, torch.device("cpu"))
    documents = tokenized("python-stdlib", "test", tokenizer, run.eval.tokens, run.eval.documents).documents
    off, on = (
        evaluate(model, evaluation_stream(run, documents, torch.device("cpu"), memory), tokenizer.token_bytes)
        for memory in (None, run.memory)
    )
    assert on.perplexity(BEYOND_4K) < 0.9 * off.perplexity(BEYOND_4K)
