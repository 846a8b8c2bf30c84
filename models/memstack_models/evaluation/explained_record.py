"""What ``memstack explain --json`` writes."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from memstack.contract.errors import printable
from memstack.contract.metrics import perplexity
from memstack.plugins.config import Frozen
from memstack.plugins.records import Record
from memstack_models.data.tokenizer import Tokenizer
from memstack_models.evaluation.explained import Explained

LISTED = 40


class TokenGain(Frozen):
    """A token that memory helped, or hindered, more than most."""

    document: str
    position: int
    """In its document, the document token being 0."""
    text: str
    """U+FFFD for a part of a character."""
    without: float
    """Nats without memory."""
    within: float
    """Nats with it."""


class ExplainedDocument(Frozen):
    """One document."""

    name: str
    tokens: int
    """Predicted ones."""
    without: float
    """Perplexity without memory."""
    within: float
    """Perplexity with it."""


class ExplainRecord(Record):
    """What the page of ``memstack explain`` says in numbers; ``memstack eval --losses`` has the loss of each token."""

    kind: Literal["explain"] = "explain"
    checkpoint: str
    memory: str
    """Backend and entries, ``exact/8192``."""
    neighbours: int
    kept: int
    """Of these, how many the page holds of each head and token."""
    memory_share: tuple[tuple[float, ...], ...]
    """Mean part of the attention of each memory layer's heads that lay on the memory."""
    documents: tuple[ExplainedDocument, ...]
    gained: tuple[TokenGain, ...]
    """The most first."""
    lost: tuple[TokenGain, ...]


def explain_record(
    explained: Explained, tokenizer: Tokenizer, layers: int, checkpoint: str, memory: str, neighbours: int
) -> ExplainRecord:
    """Return the numbers of what was explained."""
    predicted = np.ones(len(explained.tokens), dtype=bool)
    predicted[explained.starts[:-1]] = False
    shares = explained.shares[predicted].mean(0).reshape(layers, -1) / 255
    return ExplainRecord(
        checkpoint=checkpoint,
        memory=memory,
        neighbours=neighbours,
        kept=explained.kept.entries,
        memory_share=tuple(tuple(round(share, 4) for share in heads) for heads in shares.tolist()),
        documents=tuple(_documents(explained)),
        gained=tuple(_gains(explained, tokenizer, explained.most(LISTED, 1).tolist())),
        lost=tuple(_gains(explained, tokenizer, explained.most(LISTED, -1).tolist())),
    )


def _documents(explained: Explained) -> Iterator[ExplainedDocument]:
    for i, name in enumerate(explained.names):
        here = slice(explained.starts[i] + 1, explained.starts[i + 1])
        without, within = (each[here] for each in (explained.off, explained.on))
        values = [perplexity(float(each.sum(dtype=np.float64)), len(each)) for each in (without, within)]
        yield ExplainedDocument(name=printable(name), tokens=len(without), without=values[0], within=values[1])


def _gains(explained: Explained, tokenizer: Tokenizer, tokens: Sequence[int]) -> Iterator[TokenGain]:
    for token in tokens:
        document, position = explained.place_of(token)
        yield TokenGain(
            document=printable(explained.names[document]),
            position=position,
            text=tokenizer.decode([int(explained.tokens[token])]),
            without=float(explained.off[token]),
            within=float(explained.on[token]),
        )
