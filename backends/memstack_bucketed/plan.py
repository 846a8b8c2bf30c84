"""The cheapest buckets that find enough: the expected recall decides which may be taken, a model of costs which are."""

from functools import lru_cache
from typing import NamedTuple

from memstack.store import next_power_of_2
from memstack_bucketed.recall import expected_recall

KEPT = (1, 2, 4)
MOST_TILES = 512
"""So few that their number, written over the last bits of a score, changes it by 2^-14 of itself."""

# Nanoseconds on a core of an AMD EPYC with AVX-512, torch 2.13: what fits memories of 256 to 262,144 keys.
SCAN = {1: 0.4, 2: 0.85, 4: 1.4}
"""Per score, for the 1, 2 or 4 best of each bucket."""
CHOICE = 4.0
"""Per candidate, for choosing the best k of all buckets' candidates."""
DEAL = 0.2
"""Per number of a key, once for all queries, for laying keys out by buckets."""
EXACT_SCAN, EXACT_CHOICE, EXACT_CANDIDATES = 0.7, 5.0, 1024
"""Exact search: per score, and per candidate of so many, or as many as there are entries."""


class BucketPlan(NamedTuple):
    """The number of buckets, a power of two, and of the entries that each keeps: B and K' of the paper."""

    buckets: int
    kept: int

    @property
    def candidates(self) -> int:
        """Entries that are left for the second stage to choose among."""
        return self.buckets * self.kept


class SearchSize(NamedTuple):
    """The sizes of one memory's search, which decide what it costs."""

    entries: int
    k: int
    """At most ``entries``."""
    q: int
    key_dim: int


def cost(search: SearchSize, plan: BucketPlan | None) -> float:
    """Estimate the nanoseconds per query of choosing by a plan, or exactly (None), beside the product of the scores.

    What counts is their ratio. Where more is kept per bucket, fewer candidates are left and more passes made over the
    scores: that pays among few entries, for many neighbours and for a high target; otherwise one is kept.
    """
    if plan is None:
        return search.entries * EXACT_SCAN + min(search.entries, EXACT_CANDIDATES) * EXACT_CHOICE
    deal = DEAL * search.key_dim / search.q
    return search.entries * (SCAN[plan.kept] + deal) + plan.candidates * CHOICE


@lru_cache(maxsize=4096)
def cheapest_plan(search: SearchSize, recall_target: float) -> BucketPlan | None:
    """Return the plan of the least cost whose expected recall meets the target; None if exact search costs no more."""
    plans = [_fewest_buckets(search, kept, recall_target) for kept in KEPT]
    best = min((plan for plan in plans if plan), key=lambda plan: cost(search, plan), default=None)
    return best if best and cost(search, best) < cost(search, None) else None


def rounded(search: SearchSize) -> SearchSize:
    """Round entries and queries up to powers of two, so that a growing memory is planned for a few times only.

    A plan that meets a target among more entries meets it among fewer.
    """
    return search._replace(entries=next_power_of_2(search.entries), q=next_power_of_2(search.q))


def _fewest_buckets(search: SearchSize, kept: int, recall_target: float) -> BucketPlan | None:
    """The smallest power of two that meets the target, leaves k candidates, and makes few enough tiles."""
    buckets = 1
    while buckets * kept < search.entries:
        plan = BucketPlan(buckets, kept)
        enough = plan.candidates >= search.k and buckets * MOST_TILES >= search.entries
        if enough and expected_recall(search.entries, search.k, buckets, kept) >= recall_target:
            return plan
        buckets *= 2
    return None
