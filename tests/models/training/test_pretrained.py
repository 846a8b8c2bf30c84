"""The checkpoint that ships: small, made by its recipe, and its memory is worth something."""

import pytest
import torch
from memstack_models.data.load import tokenized
from memstack_models.training import run_folder
from memstack_models.training.checkpoint import FILE
from memstack_models.training.perplexity import BEYOND_4K, evaluate
from memstack_models.training.streams import evaluation_stream

SHIPPED = run_folder.find("stdlib-small")


def test_it_is_small_and_whole() -> None:
    names = {path.name for path in SHIPPED.iterdir()}
    assert names == {
        "checkpoint.safetensors",
        "config.toml",
        "log.jsonl",
        "opponent.json",
        "tokenizer.json",
        "tokenizer.sha256",
    }
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 12e6
    assert (SHIPPED / FILE).stat().st_size < 2.1 * 1e6


def test_its_recipe_is_the_one_in_the_repository() -> None:
    run_folder.refuse_other(SHIPPED, run_folder.recipe("stdlib-small", []))


def test_its_log_says_when_the_gain_appeared() -> None:
    log = run_folder.read_log(SHIPPED)
    assert [entry.step for entry in log if entry.kind == "validation" and entry.gain_appears] == [500]
    assert log[-1].step == 5000


def test_its_memory_lowers_perplexity(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the first 4k tokens of held-out documents, by far more than the tenth that is promised."""
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path_factory.mktemp("cache")))
    run = run_folder.read_config(SHIPPED, ["eval.documents=2", "eval.tokens=6144", "memory.capacity=8192"])
    model, tokenizer = run_folder.load_model(SHIPPED, run, torch.device("cpu"))
    documents = tokenized(run.data, "test", tokenizer, run.eval.tokens, run.eval.documents).documents
    off, on = (
        evaluate(model, evaluation_stream(run, documents, torch.device("cpu"), memory), tokenizer.token_bytes)
        for memory in (None, run.memory)
    )
    assert on.perplexity(BEYOND_4K) < 0.9 * off.perplexity(BEYOND_4K)
