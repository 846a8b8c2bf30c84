"""Cache entries of the models: whatever an entry holds that it should not, it is made again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.small_checkpoint import write_checkpoint
from memstack_models.data.cached import read_cached
from memstack_models.data.tokenized import tokenize
from memstack_models.data.tokenizer import ByteTokenizer, train_tokenizer
from memstack_models.evaluation.recording import recording
from safetensors.torch import save

from memstack import Document
from memstack.plugins.disk_cache import cache_folder, cached, forget

DOCUMENTS = (Document("a", "alpha beta"), Document("b", "gamma"))


def entry(tokens: torch.Tensor, *lengths: int, **about: object) -> bytes:
    """Tokens of two documents, as their entry holds them, but for what is given."""
    described = json.dumps({"names": ["a", "b"], "lengths": lengths, "order": [0, 1]} | about).encode()
    return tokens.numpy().tobytes() + described + len(described).to_bytes(8, "big")


FOREIGN = {
    "tokens of other lengths": entry(torch.zeros(17, dtype=torch.int32), 11, 7),
    "tokens of one document": entry(torch.zeros(17, dtype=torch.int32), 17),
    "tokens beyond the vocabulary": entry(torch.full((17,), 900, dtype=torch.int32), 11, 6),
    "tokens below zero": entry(torch.full((17,), -1, dtype=torch.int32), 11, 6),
    "tokens in an impossible order": entry(torch.zeros(17, dtype=torch.int32), 11, 6, order=[0, 2]),
    "an end beyond the beginning": b"\0" * 32 + b"\xff" * 8,
    "nothing": b"",
    "text": b"no tensors at all",
    "no names": save({}),
    "other names": save({"other": torch.zeros(3)}),
    "other types": save({"tokens": torch.zeros(17), "lengths": torch.tensor([11, 6])}),
    "other lengths": save({"tokens": torch.zeros(17, dtype=torch.int32), "lengths": torch.tensor([11, 7])}),
    "fewer documents": save({"tokens": torch.zeros(17, dtype=torch.int32), "lengths": torch.tensor([17])}),
    "beyond the vocabulary": save(
        {"tokens": torch.full((17,), 900, dtype=torch.int32), "lengths": torch.tensor([11, 6])}
    ),
    "other shapes": save({"keys": torch.zeros(1, 2, 3).half(), "queries": torch.zeros(1, 2, 3).half()}),
    "json": b'{"model": {"type": "WordLevel"}}',
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path / "cache"))


def plant(content: bytes, prefix: str = "") -> None:
    """Put something else into the entry, with its right digest."""
    [entry] = [path.name for path in cache_folder().iterdir() if path.name.startswith(prefix)]
    forget(entry)
    cached(entry, lambda: content)


def tokens() -> list[list[int]]:
    return [each.tolist() for each in tokenize(DOCUMENTS, ByteTokenizer()).documents]


def definition() -> str:
    return train_tokenizer("bpe", 280, DOCUMENTS).dump()


@pytest.mark.parametrize("make", [tokens, definition])
@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_an_entry_that_holds_something_else_is_made_again(make: Callable[[], object], content: bytes) -> None:
    first = make()
    plant(content)
    assert make() == first
    assert make() == first


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_recording_of_something_else_is_made_again(tmp_path: Path, content: bytes) -> None:
    checkpoint = str(write_checkpoint(tmp_path))
    first = recording(checkpoint, 20)
    plant(content, "recording-")
    again = recording(checkpoint, 20)
    assert torch.equal(again.keys, first.keys)
    assert torch.equal(again.queries, first.queries)


def test_what_cannot_be_read_although_it_is_new_is_raised() -> None:
    def refuse(held: bytes) -> None:
        raise ArithmeticError(held.decode())

    for _ in range(2):
        with pytest.raises(ArithmeticError, match="new"):
            read_cached("entry", lambda: b"new", refuse)
        forget("entry")
