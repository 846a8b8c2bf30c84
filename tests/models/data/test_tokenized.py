from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytest
import torch
from helpers.sample_data import read_sample
from memstack_models.data import tokenized as module
from memstack_models.data.tokenized import TokenizedCorpus, short_documents, tokenize
from memstack_models.data.tokenizer import BPETokenizer, ByteTokenizer, train_tokenizer

from memstack import Document

DOCUMENTS = (Document("a", "alpha beta gamma"), Document("b", "é"), Document("c", "delta\n" * 30))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def lists(corpus: TokenizedCorpus) -> list[list[int]]:
    return [tokens.tolist() for tokens in corpus.documents]


def refuse(*arguments: object) -> NoReturn:
    raise AssertionError("tokenised again")


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_each_document_is_its_tokens_after_the_document_token(kind: Literal["bytes", "bpe"]) -> None:
    tokenizer = train_tokenizer(kind, 280, DOCUMENTS)
    corpus = tokenize(DOCUMENTS, tokenizer)
    assert corpus.names == ["a", "b", "c"]
    assert all(tokens.dtype == torch.int32 for tokens in corpus.documents)
    assert lists(corpus) == [[tokenizer.document_token, *tokenizer.encode(d.text).tolist()] for d in DOCUMENTS]


@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
def test_a_limit_keeps_the_first_tokens(limit: int) -> None:
    whole = lists(tokenize(DOCUMENTS, ByteTokenizer()))
    assert lists(tokenize(DOCUMENTS, ByteTokenizer(), limit)) == [tokens[:limit] for tokens in whole]


def test_a_limit_reads_no_more_text_than_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = train_tokenizer("bpe", 280, DOCUMENTS)
    assert isinstance(tokenizer, BPETokenizer)
    batches: list[str] = []
    library = tokenizer._library

    class Attempts:
        def encode_batch_fast(self, batch: list[str], **options: Any) -> Any:
            batches.extend(batch)
            return library.encode_batch_fast(batch, **options)

        def to_str(self) -> str:
            return library.to_str()

    monkeypatch.setattr(tokenizer, "_library", Attempts())
    tokenize([Document("long", "word " * 100_000)], tokenizer, limit=1000)
    assert sum(map(len, batches)) < 50_000


def test_nothing_is_tokenised_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    first = lists(tokenize(DOCUMENTS, ByteTokenizer(), 5))
    monkeypatch.setattr(module, "_tokenized", refuse)
    assert lists(tokenize(DOCUMENTS, ByteTokenizer(), 5)) == first


@pytest.mark.parametrize(
    "change",
    [
        lambda: tokenize(DOCUMENTS, ByteTokenizer()),
        lambda: tokenize(DOCUMENTS, train_tokenizer("bpe", 280, DOCUMENTS), 5),
        lambda: tokenize(DOCUMENTS[:2], ByteTokenizer(), 5),
        lambda: tokenize((Document("a", "alpha beta gammb"), *DOCUMENTS[1:]), ByteTokenizer(), 5),
    ],
)
def test_other_documents_tokenisers_and_limits_have_entries_of_their_own(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]
) -> None:
    tokenize(DOCUMENTS, ByteTokenizer(), 5)
    monkeypatch.setattr(module, "_tokenized", refuse)
    with pytest.raises(AssertionError, match="tokenised again"):
        change()


@pytest.mark.parametrize("damage", [lambda b: b[:-3], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_a_damaged_cache_entry_is_made_again(cache: Path, damage: Callable[[bytes], bytes]) -> None:
    first = lists(tokenize(DOCUMENTS, ByteTokenizer()))
    [entry] = cache.iterdir()
    sound = entry.read_bytes()
    entry.write_bytes(damage(sound))
    assert lists(tokenize(DOCUMENTS, ByteTokenizer())) == first
    assert entry.read_bytes() == sound


def corpus_of(*lengths: int) -> TokenizedCorpus:
    return TokenizedCorpus([torch.zeros(length, dtype=torch.int32) for length in lengths], ["x"] * len(lengths))


def test_short_documents_are_counted_in_one_line() -> None:
    assert short_documents(corpus_of(300, 256, 100, 257, 9000), 256) == (
        "2 of 5 documents are shorter than one segment (256 tokens): they are padded and never use the memory"
    )
    assert short_documents(corpus_of(300, 10), 256) == (
        "1 of 2 documents is shorter than one segment (256 tokens): it is padded and never uses the memory"
    )
    assert short_documents(corpus_of(257, 300), 256) is None


def test_real_documents_decode_to_themselves() -> None:
    documents = read_sample("web", "validation")
    tokenizer = train_tokenizer("bpe", 512, documents[:2])
    corpus = tokenize(documents, tokenizer, limit=20_000)
    for document, tokens in zip(documents, corpus.documents, strict=True):
        assert tokens[0] == tokenizer.document_token
        assert len(tokens) <= 20_000
        text = tokenizer.decode(tokens[1:-4].tolist())
        assert document.text.startswith(text.rstrip("\ufffd"))
