"""From proposed slots to an answer: each scored once, the best k kept in order."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad


class Ranked(NamedTuple):
    """The k best columns of every query, best first; missing ones at the right."""

    scores: Float[Tensor, "rows heads q k"]
    positions: Int[Tensor, "rows heads q k"]
    places: Int[Tensor, "rows heads q k"]
    """Indices of the stored vectors."""


class Scored(NamedTuple):
    """Slots that an index has scored itself, by the keys in full: k columns, best first, none twice, missing ones last.

    Of equal scores the lower slot comes first.
    """

    slots: Int[Tensor, "rows heads q k"]
    """-1 where nothing was found."""
    scores: Float[Tensor, "rows heads q k"]
    """Inner products in float32."""


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
    missing = _missing(scores, positions)
    scores, order = scores.masked_fill(missing, -torch.inf).sort(dim=-1, descending=True, stable=True)
    order = order[..., :k]
    return _of_width(k, null, scores[..., :k], *(each.gather(-1, order) for each in (missing, positions, index)))


def already_ranked(
    scores: Float[Tensor, "rows heads q c"],
    positions: Int[Tensor, "rows heads q c"],
    index: Int[Tensor, "rows heads q c"],
    k: int,
    null: int,
) -> Ranked:
    """Keep candidates of which the best already comes first; otherwise as ``ranked``."""
    return _of_width(k, null, scores, _missing(scores, positions), positions, index)


def _missing(scores: Tensor, positions: Tensor) -> Bool[Tensor, "rows heads q c"]:
    """Whether there is no answer; a score that overflows cannot be told from that of a missing column."""
    return (positions < 0) | ~(scores > -torch.inf)


def _of_width(k: int, null: int, scores: Tensor, missing: Tensor, positions: Tensor, index: Tensor) -> Ranked:
    return Ranked(
        _widened(scores.masked_fill(missing, -torch.inf), k, -torch.inf),
        _widened(positions.masked_fill(missing, -1), k, -1),
        _widened(index.masked_fill(missing, null), k, null),
    )


def _widened(columns: Tensor, k: int, missing: float) -> Tensor:
    gap = k - columns.shape[-1]
    return pad(columns, (0, gap), value=missing) if gap else columns
