"""Splits by a hash of names: a document stays in its split whatever other documents come or go."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from itertools import accumulate

from memstack import SPLITS, Split

FILLED: tuple[Split, ...] = ("train", "test", "validation")
"""Which split gets a document first where there are too few."""


def split_by_hash(names: Iterable[str], shares: Mapping[str, float]) -> dict[Split, list[str]]:
    """Return the names of each split, sorted; ``shares`` are parts of the whole, in any unit.

    A name's split depends on nothing else, but for one case: a split that would be empty borrows the document with
    the smallest hash from the fullest one, as long as that keeps one, until a document of its own arrives.
    """
    splits: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for name in sorted(names):
        splits[split_of(name, shares)].append(name)
    for split in FILLED:
        fullest = max(splits.values(), key=len)
        if shares[split] and not splits[split] and len(fullest) > 1:
            fullest.remove(borrowed := min(fullest, key=fraction))
            splits[split].append(borrowed)
    return splits


def fraction(name: str) -> float:
    """Return where a name falls in [0, 1): the first 48 bits of its SHA-256."""
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def split_of(name: str, shares: Mapping[str, float]) -> Split:
    """Return the split that a name falls into, whatever others there are."""
    ends = list(accumulate(shares[split] for split in SPLITS))
    # Of shares that are next to nothing the place might be rounded up to the end of all.
    place = min(fraction(name) * ends[-1], math.nextafter(ends[-1], 0))
    return next(split for split, end in zip(SPLITS, ends, strict=True) if place < end)
