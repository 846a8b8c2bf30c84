"""Recall of a search by position and by score, attention-mass recall, perplexity and bits per byte."""

import math

import torch
from torch import Tensor

from memstack.contract.result import SearchResult


def recall(found: SearchResult, truth: SearchResult) -> float:
    """Return the fraction of the true neighbours that were found, compared by position; 1.0 if there are none."""
    true = truth.mask
    hit = _among(truth.positions, found.positions) & true
    return float(hit.sum().float() / true.sum().float()) if bool(true.any()) else 1.0


def attention_mass_recall(found: SearchResult, truth: SearchResult, scale: Tensor | float = 1.0) -> float:
    """Return how much of the true neighbours' softmax weight the found ones hold; a missed tail neighbour costs little.

    ``scale`` multiplies the scores before the softmax, as the attention layer does.
    """
    any_true = truth.mask.any(-1)
    weights = (truth.scores * scale).softmax(-1).masked_fill(~_among(truth.positions, found.positions), 0.0)
    return float(weights.sum(-1)[any_true].mean()) if bool(any_true.any()) else 1.0


def recall_by_score(found: SearchResult, truth: SearchResult, tolerance: float = 1e-5) -> float:
    """Return the fraction of the true neighbours that were found, where any entry as good as the last of them counts.

    Entries that tie, as repeated keys do, are equally right: comparing positions would count all but one choice among
    them as missed (the threshold is ann-benchmarks'). Both answers have the same k; ``tolerance``, relative to scores
    beyond 1, covers sums taken in another order. 1.0 if there are no true neighbours.
    """
    true = truth.mask
    hits = _as_good(found, truth, tolerance).sum().float()
    return float(hits / true.sum().float()) if bool(true.any()) else 1.0


def attention_mass_recall_by_score(
    found: SearchResult, truth: SearchResult, scale: Tensor | float = 1.0, tolerance: float = 1e-5
) -> float:
    """Return how much of the true neighbours' softmax weight the found ones hold, ties counting as in recall by score.

    Without ties it is ``attention_mass_recall``.
    """
    any_true = truth.mask.any(-1)
    # found's own scores, against the truth's softmax: no found entry then needs a true one of the same position.
    weights = (found.scores * scale - (truth.scores * scale).logsumexp(-1, keepdim=True)).exp()
    weights = weights.masked_fill(~_as_good(found, truth, tolerance), 0.0).sum(-1).clamp(max=1.0)
    return float(weights[any_true].mean()) if bool(any_true.any()) else 1.0


def perplexity(nats: float, tokens: int) -> float:
    """Return exp of the mean negative log-likelihood per token."""
    return math.exp(nats / tokens) if tokens else math.nan


def bits_per_byte(nats: float, text_bytes: int) -> float:
    """Return the negative log-likelihood in bits per UTF-8 byte: comparable between tokenisers."""
    return nats / math.log(2) / text_bytes if text_bytes else math.nan


def _as_good(found: SearchResult, truth: SearchResult, tolerance: float) -> Tensor:
    """Which of the found entries score no less than the worst of the true neighbours."""
    worst = truth.scores.masked_fill(~truth.mask, torch.inf).amin(-1, keepdim=True)
    return found.mask & (found.scores >= worst - tolerance * worst.abs().clamp(min=1))


def _among(positions: Tensor, candidates: Tensor) -> Tensor:
    """For each (..., k) position: is it one of the (..., c) candidates? Missing ones (-1) never are."""
    ordered = candidates.sort(-1).values
    place = torch.searchsorted(ordered, positions.contiguous()).clamp(max=ordered.shape[-1] - 1)
    return (ordered.gather(-1, place) == positions) & (positions >= 0)
