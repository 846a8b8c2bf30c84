"""Text without spaces: base64, minified files, Chinese, one endless line. Nothing in it grows with its square."""

import base64
import random
import string
from pathlib import Path
from typing import cast

import pytest
from memstack_models.data import tokenizer as module
from memstack_models.data.chunking import LENGTH, WAIT, pieces
from memstack_models.data.tokenizer import LONGEST, BPETokenizer, load_tokenizer, train_tokenizer
from memstack_models.training.bundled import PRETRAINED
from tokenizers import pre_tokenizers

from memstack import Document

CODE = Document("code", "def add(self, key):\n        return 'größe'  # 12\n" * 50)
RANDOM = random.Random(0)
ENDLESS = {
    "base64": base64.b64encode(RANDOM.randbytes(150_000)).decode(),
    "letters": "".join(RANDOM.choices(string.ascii_letters, k=200_000)),
    "digits": "".join(RANDOM.choices(string.digits, k=200_000)),
    "spaces": " " * 200_000,
    "lines": "\n" * 200_000,
    "dashes": "-" * 200_000,
    "minified": "".join(f"function f{i}(a,b){{return a+b*{i}}};" for i in range(6_000)),
    "chinese": "".join(RANDOM.choices("的一是不了人我在有他这为之大来以个中上们\uff0c\u3002", k=200_000)),
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bpe() -> BPETokenizer:
    return cast(BPETokenizer, train_tokenizer("bpe", 300, [CODE]))


def words(tokenizer: BPETokenizer, text: str) -> list[str]:
    """What the merges are made within, one pre-token after the other."""
    split = [tokenizer._library.pre_tokenizer.pre_tokenize_str(piece) for piece in pieces(text)]
    return [word for piece in split for word, _ in piece]


@pytest.mark.parametrize("kind", ENDLESS)
def test_text_without_spaces_is_merged_in_words_of_bounded_length(bpe: BPETokenizer, kind: str) -> None:
    text = ENDLESS[kind]
    lengths = [len(word) for word in words(bpe, text)]
    assert sum(lengths) == len(text.encode())
    # The space before a word does not count, and a character has up to four bytes.
    assert max(lengths) <= 4 * LONGEST + 1
    assert bpe.decode(bpe.encode(text)) == text


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_merging_costs_grows_with_the_text_and_not_with_its_square(bpe: BPETokenizer, kind: str) -> None:
    costs = [sum(len(word) ** 2 for word in words(bpe, ENDLESS[kind][:n])) for n in (50_000, 200_000)]
    assert costs[1] <= 4.2 * costs[0]


@pytest.mark.parametrize("kind", ENDLESS)
def test_no_piece_is_longer_than_it_has_to_be(kind: str) -> None:
    parts = list(pieces(ENDLESS[kind]))
    assert "".join(parts) == ENDLESS[kind]
    assert max(map(len, parts)) <= LENGTH + WAIT


def test_a_vocabulary_is_trained_on_text_without_spaces(bpe: BPETokenizer) -> None:
    trained = cast(BPETokenizer, train_tokenizer("bpe", 300, [Document("endless", ENDLESS["letters"]), CODE]))
    assert trained.vocab_size == 300
    assert max(map(len, trained._texts)) <= 4 * LONGEST


def test_the_bound_is_in_the_file(bpe: BPETokenizer, tmp_path: Path) -> None:
    assert f"{{1,{LONGEST}}}" in bpe.dump()
    bpe.save(tmp_path)
    text = ENDLESS["letters"][:5_000]
    whole = module.Library.from_str((tmp_path / module.FILE).read_text(encoding="utf-8")).encode(text).ids
    assert load_tokenizer(tmp_path).encode(text).tolist() == whole == bpe.encode(text).tolist()


def earlier(tokenizer: BPETokenizer) -> module.Library:
    """The same vocabulary, with runs that have no end, as tokenisers were before."""
    library = module.Library.from_str(tokenizer.dump())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return library


def test_a_tokenizer_from_before_there_was_a_bound_is_bounded_as_well(bpe: BPETokenizer) -> None:
    old = BPETokenizer(earlier(bpe))
    assert old.dump() != bpe.dump()
    assert old.identity == BPETokenizer(module.Library.from_str(old.dump())).identity
    for text in ENDLESS.values():
        assert max(len(word) for word in words(old, text[:20_000])) <= 4 * LONGEST + 1


def test_the_shipped_tokenizer_encodes_ordinary_text_as_ever() -> None:
    shipped = cast(BPETokenizer, load_tokenizer(PRETRAINED / "stdlib-small"))
    before = module.Library.from_str(shipped.dump())
    assert before.pre_tokenizer.__getstate__() == earlier(shipped).pre_tokenizer.__getstate__()
    runs = [character * n for character in ("a", "7", "-", " ", "\n", "é", "中") for n in (1, 2, 79, LONGEST - 1)]
    for text in (CODE.text, Path(string.__file__).read_text(encoding="utf-8"), *runs, " x".join(runs)):
        assert shipped.encode(text).tolist() == before.encode(text).ids
