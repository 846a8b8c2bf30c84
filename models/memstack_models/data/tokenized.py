"""Documents as tokens, kept on disk so that the next run starts at once."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor

from memstack import Document
from memstack_models.data.cached import read_cached
from memstack_models.data.documents import fingerprint
from memstack_models.data.tokenizer import Tokenizer


@dataclass
class TokenizedCorpus:
    """One int32 tensor of tokens per document, each begun by the document token."""

    documents: list[Tensor]
    names: list[str]
    notice: str | None = None
    """A line of the corpus for whoever reads it, such as how a folder was split."""


def tokenize(documents: Sequence[Document], tokenizer: Tokenizer, limit: int | None = None) -> TokenizedCorpus:
    """Return the documents as tokens, of each at most the first ``limit``, the document token among them."""
    parts = f"{fingerprint(documents)} {tokenizer.identity} {limit}"
    name = f"tokens-{hashlib.sha256(parts.encode()).hexdigest()}"
    size = tokenizer.vocab_size
    tokens = read_cached(
        name, lambda: _tokenized(documents, tokenizer, limit), lambda held: _split(held, len(documents), size)
    )
    return TokenizedCorpus(tokens, [document.name for document in documents])


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


def _split(held: bytes, documents: int, vocab_size: int) -> list[Tensor]:
    """The tokens of each document; an error of some kind if these bytes are no tokens of so many documents."""
    state = load(held)
    tokens, lengths = state["tokens"], state["lengths"].tolist()
    if tokens.dtype != torch.int32 or len(lengths) != documents:
        raise ValueError(f"int32 tokens of {documents} documents were expected, got {tokens.dtype} of {len(lengths)}")
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocab_size:
        raise ValueError(f"tokens should lie within 0 and {vocab_size - 1}")
    return list(tokens.split(lengths))


def _tokenized(documents: Sequence[Document], tokenizer: Tokenizer, limit: int | None) -> bytes:
    """The documents' tokens end to end, and their lengths, as safetensors."""
    begin = torch.tensor([tokenizer.document_token], dtype=torch.int32, device="cpu")
    room = None if limit is None else max(limit - 1, 0)
    texts = [torch.from_numpy(tokenizer.encode(document.text, room)) for document in documents]
    lengths = torch.tensor([1 + len(text) for text in texts], dtype=torch.int64, device="cpu")
    tokens = torch.cat([part for text in texts for part in (begin, text)]) if texts else begin[:0]
    return save({"tokens": tokens, "lengths": lengths})
