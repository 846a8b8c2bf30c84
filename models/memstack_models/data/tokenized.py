"""Documents as tokens, kept on disk and mapped into memory, so that the next run starts at once."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from memstack import CorpusError, Document
from memstack.plugins.disk_cache import Write
from memstack_models.data.cached import read_mapped
from memstack_models.data.documents import Fingerprint
from memstack_models.data.tokenizer import Tokenizer

Tick = Callable[[int, int], None]
"""Told how many documents and tokens have been prepared so far."""
SIZE = 8
"""Bytes at an entry's end that say how long the list of its documents is, which lies before them."""


def untold(documents: int, tokens: int) -> None:
    """Tell nobody."""


@dataclass
class TokenizedCorpus:
    """One int32 tensor of tokens per document, each begun by the document token; they lie in a file of the cache."""

    documents: list[Tensor]
    names: list[str]
    notice: str | None = None
    """A line of the corpus for whoever reads it, such as how a folder was split."""


def tokenize(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    limit: int | None = None,
    longest: int = 0,
    identity: str | None = None,
    tick: Tick = untold,
) -> TokenizedCorpus:
    """Return the documents as tokens, of each at most the first ``limit``, the document token among them.

    Only the ``longest`` so many, by their characters, longest first; 0 is all, in their order. Documents are read one
    by one, twice: first for what they are, then for their tokens, which the cache may have. Documents with an
    ``identity`` are not read for what they are. CorpusError if they change meanwhile.
    """
    found = _Contents.of(documents) if identity is None else None
    parts = f"{found.fingerprint if found else identity} {tokenizer.identity} {limit} {longest}"

    def build(write: Write) -> None:
        contents = _Contents.of(documents) if longest and found is None else found
        _tokenized(write, documents, contents, tokenizer, (limit, longest), tick)

    name = f"tokens-{hashlib.sha256(parts.encode()).hexdigest()}"
    return read_mapped(name, build, lambda held: _corpus(held, tokenizer.vocab_size))


def short_documents(corpus: TokenizedCorpus, segment: int) -> str | None:
    """One line to show if some documents are shorter than a segment, else None."""
    # The last token is only predicted, never read.
    short = sum(len(tokens) - 1 < segment for tokens in corpus.documents)
    if not short:
        return None
    count = f"{short} of {len(corpus.documents)} documents"
    what = "is shorter" if short == 1 else "are shorter"
    then = "it is padded and never uses" if short == 1 else "they are padded and never use"
    return f"{count} {what} than one segment ({segment} tokens): {then} the memory"


@dataclass(frozen=True)
class _Contents:
    """What one reading of documents tells."""

    fingerprint: str
    lengths: Sequence[int]
    """Characters of each."""

    @classmethod
    def of(cls, documents: Iterable[Document]) -> "_Contents":
        total, lengths = Fingerprint(), list[int]()
        for document in documents:
            total.add(document)
            lengths.append(len(document.text))
        return cls(total.hexdigest(), lengths)

    def longest(self, count: int) -> list[int]:
        """The places of so many documents, the longest first; of all, in their order, for 0."""
        places = range(len(self.lengths))
        return sorted(places, key=lambda place: -self.lengths[place])[:count] if count else list(places)


def _tokenized(
    write: Write,
    documents: Iterable[Document],
    found: _Contents | None,
    tokenizer: Tokenizer,
    limits: tuple[int | None, int],
    tick: Tick,
) -> None:
    """Write the documents' tokens end to end, then their names and lengths, and the order in which they are given."""
    limit, longest = limits
    order = found.longest(longest) if found else None
    chosen, total = None if order is None else set(order), Fingerprint()
    names, lengths, places = list[str](), list[int](), list[int]()
    for place, document in enumerate(documents):
        total.add(document)
        if chosen is None or place in chosen:
            names.append(document.name)
            tell = _counting(tick, len(lengths), sum(lengths))
            lengths.append(_write_tokens(write, document.text, tokenizer, limit, tell))
            places.append(place)
    if found and total.hexdigest() != found.fingerprint:
        raise CorpusError("the documents changed while they were read: leave them alone, and run it again")
    index = {place: at for at, place in enumerate(places)}
    about = {"names": names, "lengths": lengths, "order": [index[place] for place in order or places]}
    described = json.dumps(about).encode()
    write(described + len(described).to_bytes(SIZE, "big"))


def _counting(tick: Tick, documents: int, tokens: int) -> Callable[[int], None]:
    """Tells of so many tokens more than there were before."""
    return lambda count: tick(documents, tokens + count)


def _write_tokens(write: Write, text: str, tokenizer: Tokenizer, limit: int | None, tell: Callable[[int], None]) -> int:
    """Write a document's tokens, as far as they go, telling how many there are, and return that."""
    write(np.array([tokenizer.document_token], dtype=np.int32).tobytes())
    count = 1
    for part in tokenizer.encoded(text, None if limit is None else max(limit - 1, 0)):
        write(part.tobytes())
        count += len(part)
        tell(count)
    return count


def _corpus(held: memoryview, vocab_size: int) -> TokenizedCorpus:
    """The tokens of each document; an error of some kind if these bytes are no tokens of documents."""
    start = len(held) - SIZE - int.from_bytes(held[-SIZE:], "big")
    about = json.loads(bytes(held[start:-SIZE]))
    lengths: list[int] = about["lengths"]
    if not start == 4 * sum(lengths) or min(lengths, default=1) < 1 or len(about["names"]) != len(lengths):
        raise ValueError(f"tokens of documents of {lengths} tokens were expected, got {start} bytes")
    if not lengths:
        return TokenizedCorpus([], [])
    documents = torch.frombuffer(held[:start], dtype=torch.int32).split(lengths)
    for part in (part for document in documents for part in document.split(1 << 20)):
        if not 0 <= int(part.min()) <= int(part.max()) < vocab_size:
            raise ValueError(f"tokens should lie within 0 and {vocab_size - 1}")
    return TokenizedCorpus([documents[at] for at in about["order"]], [about["names"][at] for at in about["order"]])
