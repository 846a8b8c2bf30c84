"""Tokenisers: bytes, and a byte-level BPE trained on the documents. Both give back any UTF-8 text exactly."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Library
from torch import Tensor

from memstack import CorpusError, Document
from memstack_models.data.cached import read_cached
from memstack_models.data.chunking import pieces
from memstack_models.data.documents import fingerprint
from memstack_models.data.errors import CheckpointError

FILE, DIGEST = "tokenizer.json", "tokenizer.sha256"
DOCUMENT = "<|document|>"
SMALLEST = 257
"""All bytes and the document token."""
BATCH = 64
SAMPLE = 1 << 27
"""Characters of the documents that a BPE vocabulary is trained on at most: what it counts has to lie in memory."""
PART, LONGEST_BYTES = 1 << 20, 4
"""Characters that are encoded as bytes at once, and bytes of a character at most."""
PROBE = f" A probe,\tof 1,234 Ärger: 猫 🐈\r\n\n  {DOCUMENT} #{chr(0)}# e\u0301 \u00e9"
"""A text that whoever changes letters, spaces or lines does not give back."""
LONGEST = 512
"""Characters of a pre-token at most: merging costs with its square, and a line of base64 may have no end."""
# GPT-2's pattern, but that each run ends.
PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d"
    rf"| ?\p{{L}}{{1,{LONGEST}}}| ?\p{{N}}{{1,{LONGEST}}}| ?[^\s\p{{L}}\p{{N}}]{{1,{LONGEST}}}"
    rf"|\s{{1,{LONGEST}}}(?!\S)|\s{{1,{LONGEST}}}"
)


class Tokenizer(ABC):
    """Text to tokens and back. Any text can be encoded, and its tokens decode to just that text."""

    vocab_size: int
    document_token: int
    """Begins each document; no text produces it, also not its written form."""

    def __init__(self, texts: Sequence[bytes], document_token: int) -> None:
        self.vocab_size, self.document_token = len(texts), document_token
        self._texts = texts

    def encode(self, text: str, limit: int | None = None) -> Int[np.ndarray, " n"]:
        """Return the tokens of the text, or its first ``limit`` tokens without reading much further, as int32."""
        return np.concatenate([np.empty(0, dtype=np.int32), *self.encoded(text, limit)])

    @abstractmethod
    def encoded(self, text: str, limit: int | None = None) -> Iterator[Int[np.ndarray, " n"]]:
        """Yield what ``encode`` returns, a part at a time: of a long text the tokens need not all be in memory."""

    @abstractmethod
    def dump(self) -> str:
        """Return everything that defines the tokeniser as JSON."""

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of the tokens; bytes that are no UTF-8 become U+FFFD, document tokens nothing."""
        return b"".join(self._texts[int(token)] for token in ids).decode(errors="replace")

    def bytes_of(self, token: int) -> bytes:
        """Return what a token stands for, which may be a part of a character; nothing for the document token."""
        return self._texts[token]

    @property
    def token_bytes(self) -> Int[Tensor, " vocab"]:
        """How many bytes of UTF-8 each token stands for; 0 for the document token."""
        return torch.tensor([len(text) for text in self._texts], dtype=torch.int64, device="cpu")

    @property
    def identity(self) -> str:
        """SHA-256 of the definition, as 64 hex digits."""
        return hashlib.sha256(self.dump().encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` into an existing folder, and its digest beside it, as ``sha256sum`` does."""
        (folder / FILE).write_bytes(self.dump().encode())
        (folder / DIGEST).write_bytes(f"{self.identity}  {FILE}\n".encode())


class ByteTokenizer(Tokenizer):
    """Every byte of UTF-8 is a token; the document token is number 256."""

    def __init__(self) -> None:
        super().__init__([bytes([value]) for value in range(256)] + [b""], document_token=256)

    def encoded(self, text: str, limit: int | None = None) -> Iterator[Int[np.ndarray, " n"]]:
        """Yield the bytes of the text."""
        left = len(text) * LONGEST_BYTES if limit is None else limit
        for start in range(0, len(text), PART):
            part = np.frombuffer(text[start : start + PART].encode()[:left], dtype=np.uint8).astype(np.int32)
            left -= len(part)
            yield part
            if not left:
                return

    def dump(self) -> str:
        """Return a definition without parameters."""
        return json.dumps({"model": {"type": "bytes"}})


class BPETokenizer(Tokenizer):
    """Byte-level byte-pair encoding, as in GPT-2 (without a space put before the text)."""

    def __init__(self, library: Library) -> None:
        vocab: dict[str, int] = library.get_vocab()
        document_token = vocab[DOCUMENT]
        texts = {number: _bytes_of(token) for token, number in vocab.items()} | {document_token: b""}
        super().__init__([texts[number] for number in range(len(vocab))], document_token)
        if len(set(texts.values())) < len(texts) or not {bytes([value]) for value in range(256)} <= set(texts.values()):
            raise ValueError("the vocabulary lacks some bytes, or has a token twice")
        self._definition: str = library.to_str()
        library.encode_special_tokens = True  # a document token written out in a text is text
        if json.loads(self._definition)["pre_tokenizer"] == UNBOUNDED:
            library.pre_tokenizer = _pre_tokenizer()  # splits any text as its own does, but a run without an end
        self._library = library

    def encoded(self, text: str, limit: int | None = None) -> Iterator[Int[np.ndarray, " n"]]:
        """Yield the tokens of the text: the same whether it is encoded whole, or in ``pieces`` as here, for speed."""
        left, remaining = limit, pieces(text)
        while (left is None or left > 0) and (batch := list(islice(remaining, BATCH if left is None else 1))):
            for encoding in self._library.encode_batch_fast(batch, add_special_tokens=False):
                part = np.array(encoding.ids, dtype=np.int32)[:left]
                left = None if left is None else left - len(part)
                yield part

    def dump(self) -> str:
        """Return the JSON of the ``tokenizers`` library."""
        return self._definition


def largest_size(kind: Literal["bytes", "bpe"], vocab_size: int) -> int:
    """Return how many tokens a tokeniser of that kind has, or will have at the most."""
    return SMALLEST if kind == "bytes" else vocab_size


def train_tokenizer(
    kind: Literal["bytes", "bpe"], vocab_size: int, documents: Iterable[Document], identity: str | None = None
) -> Tokenizer:
    """Return a tokeniser for documents like these.

    ``bytes`` needs no training. ``bpe`` is trained on the first ``SAMPLE`` characters of the documents, which are read
    one by one, and kept in the cache folder; the bytes and the document token count among its ``vocab_size`` tokens, of
    which there are fewer if the documents have too few pairs. Documents with an ``identity`` are not read if it is
    there. CorpusError if that cannot be.
    """
    if kind == "bytes":
        return ByteTokenizer()
    if vocab_size < SMALLEST:
        raise CorpusError(
            f"a BPE vocabulary holds {SMALLEST} tokens or more (bytes and a document token), got {vocab_size}"
        )
    known = fingerprint(_some(sample(documents))) if identity is None else hashlib.sha256(identity.encode()).hexdigest()
    return read_cached(
        f"bpe-{vocab_size}-{LONGEST}-{known}",
        lambda: _train(vocab_size, sample(documents)).to_str().encode(),
        lambda held: _parse(held.decode()),
    )


def sample(documents: Iterable[Document]) -> Iterator[Document]:
    """Yield the documents up to the first ``SAMPLE`` characters of their texts."""
    left = SAMPLE
    for document in documents:
        yield document if len(document.text) <= left else Document(document.name, document.text[:left])
        left -= len(document.text)
        if left <= 0:
            return


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read the ``tokenizer.json`` of a folder; CheckpointError if it is missing or damaged.

    One without a digest beside it, made by other software, is taken as it is.
    """
    path, digest = folder / FILE, folder / DIGEST
    if not path.is_file():
        raise CheckpointError(f"there is no tokeniser {path}: a checkpoint folder holds one beside its weights")
    content = path.read_bytes()
    if digest.is_file() and hashlib.sha256(content).hexdigest().encode() != digest.read_bytes()[:64]:
        raise CheckpointError(f"{path} is damaged: it does not match {DIGEST}; use another copy of both")
    try:
        return _parse(content.decode())
    except Exception as error:  # noqa: BLE001 - the tokenizers library raises nothing narrower
        raise CheckpointError(f"{path} is no byte-level BPE or byte tokeniser ({error}); use another copy") from None


def _parse(definition: str) -> Tokenizer:
    model: dict[str, Any] = json.loads(definition)["model"]
    if model["type"] == "bytes":
        return ByteTokenizer()
    library = Library.from_str(definition)
    # A text has the tokens it has: padding to a length, above all to a huge one, would end the process.
    library.no_padding()
    library.no_truncation()
    if model.get("dropout"):
        raise ValueError("with dropout, a text has other tokens each time")
    tokenizer = BPETokenizer(library)
    if tokenizer.decode(tokenizer.encode(PROBE)) != PROBE:
        raise ValueError("it does not give back the text it was given")
    return tokenizer


def _train(vocab_size: int, documents: Iterable[Document]) -> Library:
    library = Library(models.BPE())
    library.pre_tokenizer = _pre_tokenizer()
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[DOCUMENT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator(_all_pieces(documents), trainer)
    return library


def _some(documents: Iterable[Document]) -> Iterator[Document]:
    empty = True
    for document in documents:
        empty = False
        yield document
    if empty:
        raise CorpusError("a BPE vocabulary is trained on documents, got none")


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(PATTERN), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _all_pieces(documents: Iterable[Document]) -> Iterator[str]:
    for document in documents:
        yield from pieces(document.text)


def _bytes_of(token: str) -> bytes:
    return bytes(BYTES[character] for character in token)


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte: itself where that is visible, else one of U+0100 and up."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [value for value in range(256) if value not in visible]
    return {chr(value): value for value in visible} | {chr(0x100 + i): value for i, value in enumerate(hidden)}


BYTES = _byte_alphabet()
UNBOUNDED = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
"""How earlier tokenisers split: by the same pattern, whose runs have no end."""
