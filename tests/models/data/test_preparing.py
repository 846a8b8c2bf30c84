"""Documents become tokens one by one, in bounded memory; what has an identity is read only for what is missing."""

import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.published_data import pg19
from memstack_models.cli.work import preparing
from memstack_models.data import tokenizer as tokenizers
from memstack_models.data.documents import SplitDocuments
from memstack_models.data.tokenized import TokenizedCorpus, tokenize
from memstack_models.data.tokenizer import ByteTokenizer, train_tokenizer

from memstack import Corpus, CorpusError, Document, Split, create_corpus
from memstack.cli import logged_progress

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path / "cache"))


class Counted(Corpus):
    """Documents that are made when they are asked for, and counted while they are there."""

    def __init__(self, texts: list[str], identity: str | None = None) -> None:
        self.texts, self.known = texts, identity
        self.read, self.alive, self.most = 0, weakref.WeakSet[Document](), 0

    def documents(self, split: Split) -> Iterator[Document]:
        for number, text in enumerate(self.texts):
            document = Document(f"{split} {number}", text)
            self.read += 1
            self.alive.add(document)
            self.most = max(self.most, len(self.alive))
            yield document
            del document

    def identity(self) -> str | None:
        return self.known


def texts(count: int = 30) -> list[str]:
    return [f"document {number} " * (1 + number % 7) for number in range(count)]


def test_never_more_than_two_documents_are_in_memory() -> None:
    corpus = Counted(texts())
    documents = SplitDocuments(corpus, "train")
    tokenizer = train_tokenizer("bpe", 300, documents)
    found = tokenize(documents, tokenizer, longest=4)
    assert corpus.read == 4 * 30  # to know the vocabulary, to train it, to know the tokens, to make them
    assert corpus.most <= 2
    assert [len(each) for each in found.documents] == sorted((len(each) for each in found.documents), reverse=True)


def test_the_longest_come_first_with_their_names() -> None:
    corpus = Counted(["bb", "a", "dddd", "ccc", "eeee"])
    found = tokenize(SplitDocuments(corpus, "test"), ByteTokenizer(), longest=3)
    assert found.names == ["test 2", "test 4", "test 3"]
    assert [bytes(each[1:].tolist()).decode() for each in found.documents] == ["dddd", "eeee", "ccc"]
    assert all(each.dtype == torch.int32 for each in found.documents)


def test_documents_that_change_meanwhile_are_refused() -> None:
    corpus = Counted(texts())

    class Changing(SplitDocuments):
        def __iter__(self) -> Iterator[Document]:
            yield from super().__iter__()
            corpus.texts[3] = "other"

    with pytest.raises(CorpusError, match="changed while they were read"):
        tokenize(Changing(corpus, "train"), ByteTokenizer())


def test_documents_with_an_identity_are_read_only_for_what_is_missing() -> None:
    corpus = Counted(texts(), "some books, whole")
    documents = SplitDocuments(corpus, "train")

    def prepare() -> TokenizedCorpus:
        tokenizer = train_tokenizer("bpe", 300, documents, documents.identity)
        tokenize(documents, tokenizer, 5, 3, documents.identity)
        return tokenize(documents, tokenizer, None, 0, documents.identity)

    prepare()
    found = prepare()
    assert corpus.read == 4 * 30  # vocabulary, tokens, and for the longest what they are and their tokens
    assert found.names == [f"train {number}" for number in range(30)]
    other = SplitDocuments(corpus, "test")
    tokenize(other, ByteTokenizer(), None, 0, other.identity)
    assert corpus.read == 5 * 30


def test_only_a_commit_of_a_public_data_set_is_an_identity(tmp_path: Path) -> None:
    known = create_corpus("pg19").identity()
    assert known is not None
    assert create_corpus("pg19", documents=7).identity() not in (known, None)
    assert create_corpus("pg19", revision=COMMIT).identity() not in (known, None)
    assert create_corpus("pg19", revision="main").identity() is None
    assert create_corpus("pg19", dataset=str(pg19(tmp_path))).identity() is None
    assert create_corpus("pg19", path=tmp_path).identity() is None
    assert create_corpus("python-stdlib").identity() is None


def test_a_vocabulary_is_trained_on_a_bounded_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizers, "SAMPLE", 100)
    corpus = Counted(["abc " * 20, "abd " * 20, "never read " * 50])
    sampled = train_tokenizer("bpe", 300, SplitDocuments(corpus, "train"))
    assert corpus.read == 2 * 2
    cut = [Document("one", "abc " * 20), Document("two", "abd " * 5)]
    assert sampled.dump() == train_tokenizer("bpe", 300, cut).dump()


def test_ten_million_tokens_are_prepared_in_bounded_memory(tmp_path: Path) -> None:
    corpus = Counted(["a text of ten million tokens" * (10_000_000 // 28)])
    documents = SplitDocuments(corpus, "train")
    tracemalloc.start()
    try:
        found = tokenize(documents, ByteTokenizer())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.documents[0].numel() > 9_999_000
    assert peak < 12_000_000  # the tokens alone are 40 MB


def test_how_far_it_is_is_told_and_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(logged_progress, "EVERY_S", 0.0)
    documents = SplitDocuments(Counted(["one", "two", "three"]), "train")
    with preparing("train") as tick:
        tokenize(documents, ByteTokenizer(), tick=tick)
    assert capsys.readouterr().err.splitlines() == [
        "0 after 0 s: train documents tokenised, 4 tokens",
        "1 after 0 s: train documents tokenised, 8 tokens",
        "2 after 0 s: train documents tokenised, 14 tokens",
    ]
    with preparing("train") as tick:
        tokenize(documents, ByteTokenizer(), tick=tick)
    assert capsys.readouterr().err == ""
