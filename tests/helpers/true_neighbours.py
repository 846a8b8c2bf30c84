"""What an exact search has found, held against all scores in float64."""

import torch
from torch import Tensor


def assert_true_neighbours(keys: Tensor, queries: Tensor, slots: Tensor, scored: Tensor, k: int) -> None:
    """Slots (memories, q, columns) are those of the best keys (memories, n, dim), best first, with their scores.

    Nothing but the rounding of float32 sums, of these very keys, may have decided between two.
    """
    n, dim = keys.shape[1:]
    assert ((slots >= 0).sum(-1) >= min(k, n)).all()
    assert bool((scored[..., 1:] <= scored[..., :-1]).all())
    scores = queries.double() @ keys.double().mT
    lengths = queries.double().norm(dim=-1)[..., None] * keys.double().norm(dim=-1)[:, None]
    rounding = dim * 2.0**-23 * lengths
    off = (scores.gather(-1, slots.clamp(min=0)) - scored).abs()
    assert bool((off <= rounding.gather(-1, slots.clamp(min=0)))[slots >= 0].all())
    best = scores.topk(min(k, n)).indices
    for row in range(keys.shape[0]):
        for q in range(queries.shape[1]):
            found = slots[row, q][slots[row, q] >= 0].tolist()
            assert len(found) == len(set(found))
            _assert_none_better(scores[row, q], rounding[row, q], set(found), set(best[row, q].tolist()))


def _assert_none_better(scores: Tensor, rounding: Tensor, found: set[int], best: set[int]) -> None:
    missed, instead = (torch.tensor(sorted(slots), dtype=torch.int64) for slots in (best - found, found - best))
    assert (scores[missed][:, None] - scores[instead] <= rounding[missed][:, None] + rounding[instead]).all()
