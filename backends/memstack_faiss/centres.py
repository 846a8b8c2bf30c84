"""The centres of inverted lists: those that can be told from one another, and one at the origin for what has no length.

k-means has as many centres as it was asked for, also where keys are equal or nearly so: then many lie side by side, one
of them is nearest to all of those keys, and a query that visits its nearest lists may visit all but that one.
"""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

ALIKE = 0.9999
"""Cosine of two directions above which a list round one is not worth telling from a list round the other."""


def distinct_centres(centres: Array, keys: Array) -> Array:
    """Return those (lists, dim) centres by which lists of (n, dim) keys can be told apart; all of them, usually.

    Of centres of nearly one direction the first stays, for what is near to any of them. Keys of zeros are no nearer to
    one direction than to another: where there are any, a centre at the origin comes first, to which they fall, and
    which a query prefers to all centres that point away from it.
    """
    kept = _distinct(centres)
    if not len(kept) or bool((keys == 0).all(1).any()):
        kept = np.concatenate([np.zeros((1, centres.shape[1]), centres.dtype), kept])
    return kept


def _distinct(centres: Array) -> Array:
    """The centres of some length that none before them is like."""
    lengths = np.linalg.norm(centres, axis=1)
    directions = np.empty_like(centres)
    kept: list[int] = []
    for place in np.flatnonzero(lengths > 0).tolist():
        direction = centres[place] / lengths[place]
        if (directions[: len(kept)] @ direction <= ALIKE).all():
            directions[len(kept)] = direction
            kept.append(place)
    return centres[kept]
