"""How far a perplexity can be believed: what it would be on other texts of the same kind, by bootstrap."""

from dataclasses import dataclass
from math import exp, inf

import torch
from torch import Tensor

from memstack.plugins.config import Frozen

DRAWS, SEED = 1000, 0
COVERED = 0.95
"""Of the draws that lie within an interval."""


SEGMENT = 256
"""Predicted tokens of each piece of a document that is drawn as one."""


class Segments(Frozen):
    """What a model made of each piece of the documents that it read: the losses of which a perplexity is the mean."""

    documents: tuple[int, ...]
    starts: tuple[int, ...]
    """Predicted tokens of the document before it."""
    nats: tuple[float, ...]
    """Negative log-likelihood of its predicted tokens together."""
    tokens: tuple[int, ...]

    def same_text(self, other: "Segments") -> bool:
        """True if both are of the same segments, so that their losses can be compared one by one."""
        return (self.documents, self.starts, self.tokens) == (other.documents, other.starts, other.tokens)


@dataclass(frozen=True)
class Interval:
    """Between what a number lies in nineteen of twenty draws."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """True if the value is within."""
        return self.low <= value <= self.high


def perplexity_interval(segments: Segments, first: float = 0, end: float = inf) -> Interval | None:
    """The perplexity of segments that start from ``first`` to before ``end``; None of fewer than two segments."""
    return _interval(*_columns(segments, first, end))


def ratio_interval(segments: Segments, against: Segments) -> Interval | None:
    """Perplexity over that of another memory or model; None unless both read the same text, of two segments or more.

    Paired: what is hard in a text is hard for both, so that this is far narrower than either perplexity's interval.
    """
    if not segments.same_text(against):
        return None
    nats, tokens = _columns(segments)
    return _interval(nats - _columns(against)[0], tokens)


def _columns(segments: Segments, first: float = 0, end: float = inf) -> tuple[Tensor, Tensor]:
    starts = torch.tensor(segments.starts, dtype=torch.int64, device="cpu")
    inside = (starts >= first) & (starts < end)
    nats, tokens = (torch.tensor(each, dtype=torch.float64, device="cpu") for each in (segments.nats, segments.tokens))
    return nats[inside], tokens[inside]


def _interval(nats: Tensor, tokens: Tensor) -> Interval | None:
    """Of exp(nats per token), over draws with replacement of as many segments."""
    if len(nats) < 2:
        return None
    random = torch.Generator().manual_seed(SEED)
    drawn = torch.randint(len(nats), (DRAWS, len(nats)), generator=random, dtype=torch.int64, device="cpu")
    means = nats[drawn].sum(1) / tokens[drawn].sum(1)
    edges = torch.tensor([(1 - COVERED) / 2, (1 + COVERED) / 2], dtype=torch.float64, device="cpu")
    low, high = means.quantile(edges).tolist()
    return Interval(exp(low), exp(high))
