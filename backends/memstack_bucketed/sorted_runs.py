"""The few largest of many numbers, elementwise over tensors: runs sorted from the largest, merged two by two."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from memstack.store import next_power_of_2

LEAST = -1e38
"""The score of an entry that does not exist. Finite: an infinite one whose last bits are written over is no number."""


def largest(scores: Float[Tensor, "*outer tiles buckets"], kept: int) -> list[Float[Tensor, "*outer buckets"]]:
    """Return the ``kept`` (1, 2, 4, ...) largest along the tiles, the largest first; ``LEAST`` where there are fewer.

    torch has a fast maximum along an axis, but its topk along one costs more than the product that made the scores.
    """
    if kept == 1:
        return [scores.amax(-2)]
    tiles = scores.shape[-2]
    rounded = max(kept, next_power_of_2(tiles))
    runs = [pad(scores, (0, 0, 0, rounded - tiles), value=LEAST) if rounded > tiles else scores]
    while (tiles := runs[0].shape[-2]) > 1:
        halves = [run.split(tiles // 2, -2) for run in runs]
        runs = merged([half[0] for half in halves], [half[1] for half in halves], kept)
    return [run.squeeze(-2) for run in runs]


def merged(one: list[Tensor], other: list[Tensor], kept: int) -> list[Tensor]:
    """Merge two sorted runs of equal length, a power of two, into one of at most ``kept``.

    One run and the other turned round make a bitonic sequence (Batcher, 1968): the pairwise larger are its upper half.
    """
    pairs = list(zip(one, other[::-1], strict=True))
    upper = _sorted([torch.maximum(*pair) for pair in pairs])
    return upper if len(one) >= kept else upper + _sorted([torch.minimum(*pair) for pair in pairs])


def _sorted(bitonic: list[Tensor]) -> list[Tensor]:
    if len(bitonic) == 1:
        return bitonic
    half = len(bitonic) // 2
    pairs = list(zip(bitonic[:half], bitonic[half:], strict=True))
    return _sorted([torch.maximum(*pair) for pair in pairs]) + _sorted([torch.minimum(*pair) for pair in pairs])
