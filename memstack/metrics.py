"""Recall of a search, attention-mass recall, perplexity and bits per byte."""

import math

import torch
from torch import Tensor

from memstack.memory import SearchResult


def recall(found: SearchResult, truth: SearchResult) -> float:
    """Return the fraction of the true neighbours that were found, compared by position; 1.0 if there are none."""
    true = truth.mask
    hit = _among(truth.positions, found.positions) & true
    return float(hit.sum() / true.sum()) if bool(true.any()) else 1.0


def attention_mass_recall(found: SearchResult, truth: SearchResult, scale: float = 1.0) -> float:
    """Return how much of the true neighbours' softmax weight the found ones hold; a missed tail neighbour costs little.

    ``scale`` multiplies the scores before the softmax, as the attention layer does.
    """
    any_true = truth.mask.any(-1)
    weights = (truth.scores * scale).softmax(-1).masked_fill(~_among(truth.positions, found.positions), 0.0)
    return float(weights.sum(-1)[any_true].mean()) if bool(any_true.any()) else 1.0


def perplexity(nats: float, tokens: int) -> float:
    """Return exp of the mean negative log-likelihood per token."""
    return math.exp(nats / tokens) if tokens else math.nan


def bits_per_byte(nats: float, text_bytes: int) -> float:
    """Return the negative log-likelihood in bits per UTF-8 byte: comparable between tokenisers."""
    return nats / math.log(2) / text_bytes if text_bytes else math.nan


def _among(positions: Tensor, candidates: Tensor) -> Tensor:
    """For each (..., k) position: is it one of the (..., c) candidates? Missing ones (-1) never are."""
    ordered = candidates.sort(-1).values
    place = torch.searchsorted(ordered, positions.contiguous()).clamp(max=ordered.shape[-1] - 1)
    return (ordered.gather(-1, place) == positions) & (positions >= 0)
