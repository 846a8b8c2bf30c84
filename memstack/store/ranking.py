"""From proposed slots to an answer: each scored once, the best k kept in order."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad


class Ranked(NamedTuple):
    """The k best columns of every query, best first; missing ones at the right."""

    scores: Float[Tensor, "rows heads q k"]
    positions: Int[Tensor, "rows heads q k"]
    places: Int[Tensor, "rows heads q k"]
    """Indices of the stored vectors."""


def in_slot_order(slots: Int[Tensor, "rows heads q c"]) -> Int[Tensor, "rows heads q c"]:
    """Put proposed slots in ascending order and drop repetitions (-1): the store is then read from front to back."""
    slots = slots.sort(-1).values
    slots[..., 1:].masked_fill_(slots[..., 1:] == slots[..., :-1].clone(), -1)
    return slots


def ranked(
    scores: Float[Tensor, "rows heads q c"],
    positions: Int[Tensor, "rows heads q c"],
    index: Int[Tensor, "rows heads q c"],
    k: int,
    null: int,
) -> Ranked:
    """Keep the best k of the candidates; ``null`` is the index of what a missing column reads."""
    # A score that overflows cannot be told from that of a missing column.
    missing = (positions < 0) | ~(scores > -torch.inf)
    scores, order = scores.masked_fill_(missing, -torch.inf).sort(dim=-1, descending=True, stable=True)
    order = order[..., :k]
    return Ranked(
        _widened(scores[..., :k], k, -torch.inf),
        _widened(positions.masked_fill_(missing, -1).gather(-1, order), k, -1),
        _widened(index.masked_fill_(missing, null).gather(-1, order), k, null),
    )


def _widened(columns: Tensor, k: int, missing: float) -> Tensor:
    gap = k - columns.shape[-1]
    return pad(columns, (0, gap), value=missing) if gap else columns
