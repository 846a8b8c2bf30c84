from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, cast

import numpy as np
import pytest
import torch
from helpers.sample_data import read_sample
from hypothesis import given, settings
from hypothesis import strategies as st
from memstack_models.data import tokenizer as module
from memstack_models.data.chunking import pieces
from memstack_models.data.documents import SplitDocuments
from memstack_models.data.errors import CheckpointError
from memstack_models.data.tokenizer import (
    DOCUMENT,
    BPETokenizer,
    ByteTokenizer,
    Tokenizer,
    load_tokenizer,
    train_tokenizer,
)

from memstack import CorpusError, Document, create_corpus
from memstack.contract.errors import CacheError
from memstack.plugins.disk_cache import cache_folder, cached

CODE = Document("code", 'def add(self, key):\n        if key is None:\n            return "größe"  # 12\n' * 50)


def train(vocab_size: int = 300, documents: Sequence[Document] = (CODE,)) -> BPETokenizer:
    return cast(BPETokenizer, train_tokenizer("bpe", vocab_size, documents))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> BPETokenizer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEMSTACK_CACHE", str(tmp_path_factory.mktemp("cache")))
        return cast(
            BPETokenizer, train_tokenizer("bpe", 1024, SplitDocuments(create_corpus("python-stdlib"), "validation"))
        )


@pytest.fixture(scope="module", params=["bytes", "bpe"])
def tokenizer(request: pytest.FixtureRequest, bpe: BPETokenizer) -> Tokenizer:
    return ByteTokenizer() if request.param == "bytes" else bpe


texts = st.text() | st.text(alphabet="aé 1_.\n\t\r\u00a0\u3000's<|>\x00") | st.just(f"a {DOCUMENT}\n{DOCUMENT}")


@given(text=texts)
@settings(deadline=None)
def test_any_text_comes_back_and_no_byte_is_lost(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert tokenizer.decode(ids) == text
    assert int(tokenizer.token_bytes[torch.from_numpy(ids)].sum()) == len(text.encode())
    assert tokenizer.document_token not in ids


@given(text=texts, limit=st.integers(0, 20))
@settings(deadline=None)
def test_a_limit_gives_the_first_tokens(tokenizer: Tokenizer, text: str, limit: int) -> None:
    assert tokenizer.encode(text, limit).tolist() == tokenizer.encode(text)[:limit].tolist()


@given(text=texts, length=st.integers(1, 6))
@settings(max_examples=300, deadline=None)
def test_pieces_are_encoded_as_the_whole(bpe: BPETokenizer, text: str, length: int) -> None:
    parts = list(pieces(text, length))
    assert "".join(parts) == text
    assert [token for part in parts for token in bpe.encode(part)] == bpe.encode(text).tolist()


def test_long_text_is_encoded_as_the_library_encodes_it_whole(bpe: BPETokenizer) -> None:
    text = max((document.text for document in SplitDocuments(create_corpus("python-stdlib"), "validation")), key=len)[
        :200_000
    ]
    whole = module.Library.from_str(bpe.dump()).encode(text).ids
    assert bpe.encode(text).tolist() == whole
    assert bpe.encode(text, 20_000).tolist() == whole[:20_000]


@pytest.mark.parametrize("kind", ["books", "arxiv_math", "isabelle", "web"])
def test_real_documents_come_back(tokenizer: Tokenizer, kind: str) -> None:
    document = read_sample(kind, "validation")[0]
    text = document.text[:300_000]
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_token_count_covers_every_token_and_nothing_for_the_document_token(tokenizer: Tokenizer) -> None:
    counts = tokenizer.token_bytes
    assert counts.shape == (tokenizer.vocab_size,)
    assert counts.dtype == torch.int64
    assert counts.nonzero().numel() == tokenizer.vocab_size - 1
    assert counts[tokenizer.document_token] == 0


def test_broken_characters_are_replaced_and_document_tokens_are_silent(tokenizer: Tokenizer) -> None:
    first, second = tokenizer.encode("a"), tokenizer.encode("é")
    half = [token for token in range(tokenizer.vocab_size) if tokenizer._texts[token] == "é".encode()[:1]]
    assert tokenizer.decode([tokenizer.document_token, *first, *half, *first]) == "a\ufffda"
    assert tokenizer.decode(second) == "é"


def test_indentation_is_few_tokens(bpe: BPETokenizer) -> None:
    assert len(bpe.encode("x\n        return")) <= 4


@pytest.mark.parametrize("size", [257, 280, 290])
def test_bpe_has_the_size_asked_for(size: int) -> None:
    assert train(size).vocab_size == size


def test_bpe_of_little_text_is_smaller() -> None:
    assert train(1000, [Document("a", "ab ab")]).vocab_size < 260


def test_training_is_repeatable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = train().dump()
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path / "other"))
    assert train().dump() == first


@pytest.mark.parametrize(
    ("size", "documents", "message"),
    [(256, [CODE], "257 tokens or more .* got 256"), (300, [], "trained on documents, got none")],
)
def test_training_that_cannot_be_is_refused(size: int, documents: list[Document], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        train(size, documents)


def refuse(*arguments: object) -> NoReturn:
    raise AssertionError("trained again")


def test_a_trained_bpe_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    first = train().dump()
    monkeypatch.setattr(module, "_train", refuse)
    assert train().dump() == first
    with pytest.raises(AssertionError, match="trained again"):
        train(documents=[CODE, CODE])
    with pytest.raises(AssertionError, match="trained again"):
        train(301)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:100] + b"\0" + b[101:]])
def test_a_damaged_cache_entry_is_made_again(cache: Path, damage: Callable[[bytes], bytes]) -> None:
    first = train().dump()
    [entry] = cache.iterdir()
    sound = entry.read_bytes()
    entry.write_bytes(damage(sound))
    assert train().dump() == first
    assert entry.read_bytes() == sound


def test_an_unwritable_cache_folder_names_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CacheError, match=r"cache cannot be written \(Not a directory\): set MEMSTACK_CACHE"):
        train()


def test_a_failed_write_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def fail(*arguments: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(CacheError, match="No space left on device"):
        cached("name", lambda: b"content")
    assert list(cache.iterdir()) == []


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEMSTACK_CACHE", "~/somewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "somewhere"
    monkeypatch.delenv("MEMSTACK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "memstack"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache" / "memstack"


def test_a_saved_tokenizer_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert type(loaded) is type(tokenizer)
    assert loaded.identity == tokenizer.identity
    assert loaded.document_token == tokenizer.document_token
    text = f"for i in range(10):  # {DOCUMENT} größe\n"
    assert loaded.encode(text).tolist() == tokenizer.encode(text).tolist()


def test_tokenizers_are_told_apart(bpe: BPETokenizer) -> None:
    assert len({bpe.identity, ByteTokenizer().identity, train().identity}) == 3


def test_a_missing_tokenizer_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no tokeniser .*tokenizer\.json"):
        load_tokenizer(tmp_path)


@given(place=st.integers(0), bit=st.integers(0, 7))
@settings(max_examples=50, deadline=None)
def test_a_flipped_bit_is_found(
    bpe: BPETokenizer, tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("saved")
    bpe.save(folder)
    content = bytearray((folder / module.FILE).read_bytes())
    content[place % len(content)] ^= 1 << bit
    (folder / module.FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"is damaged: it does not match tokenizer\.sha256"):
        load_tokenizer(folder)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"model": {"type": "WordLevel"}}', b'{"model": 3}'])
def test_a_foreign_tokenizer_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / module.FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match="is no byte-level BPE or byte tokeniser") as error:
        load_tokenizer(tmp_path)
    assert "\n" not in str(error.value)


def test_a_bpe_that_lacks_bytes_is_refused(tmp_path: Path, bpe: BPETokenizer) -> None:
    bpe.save(tmp_path)
    (tmp_path / module.DIGEST).unlink()
    definition = bpe.dump().replace('"!":1,', "")
    (tmp_path / module.FILE).write_text(definition, encoding="utf-8")
    with pytest.raises(CheckpointError, match="is no byte-level BPE"):
        load_tokenizer(tmp_path)
