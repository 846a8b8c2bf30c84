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


class Scored(NamedTuple):
    """Slots that an index has scored itself, by the keys in full: k columns, best first, none twice, missing ones last.

    Of equal scores the lower slot comes first.
    """

    slots: Int[Tensor, "rows heads q k"]
    """-1 where nothing was found."""
    scores: Float[Tensor, "rows heads q k"]
    """Inner products in float32."""

    def is_whole(self, shortest: int) -> bool:
        """Return whether nothing is missing, as mostly, and all slots are among so many first, which every row holds.

        A GPU is not asked, as it would have to be waited for: False there.
        """
        if self.slots.device.type != "cpu":
            return False
        lowest, highest = self.slots.aminmax()
        # The last column is the worst.
        return int(lowest) >= 0 and int(highest) < shortest and float(self.scores[..., -1].min()) > -torch.inf


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
    *,
    best_first: bool = False,
    whole: bool = False,
) -> Ranked:
    """Keep the best k of the candidates; ``null`` is the index of what a missing column reads.

    ``best_first`` says that at most k come, in that order already; ``whole``, that none is missing.
    """
    columns = [(scores, -torch.inf), (positions, -1), (index, null)]
    if not whole:
        # A score that overflows cannot be told from that of a missing column.
        missing = (positions < 0) | ~(scores > -torch.inf)
        columns = [(each.masked_fill(missing, nothing), nothing) for each, nothing in columns]
    if not best_first:
        order = columns[0][0].sort(dim=-1, descending=True, stable=True).indices[..., :k]
        columns = [(each.gather(-1, order), nothing) for each, nothing in columns]
    return Ranked(*(_widened(each, k, nothing) for each, nothing in columns))


def _widened(columns: Tensor, k: int, missing: float) -> Tensor:
    gap = k - columns.shape[-1]
    return pad(columns, (0, gap), value=missing) if gap else columns
