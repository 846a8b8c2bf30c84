"""The share of the true neighbours that the two stages find, exactly (arXiv 2506.04165, Theorem 1)."""

from math import exp, lgamma


def expected_recall(entries: int, k: int, buckets: int, kept: int) -> float:
    """Return the expected recall of the k best among so many ``entries`` if each bucket keeps its ``kept`` best.

    Of the k best, a bucket of s entries holds r with the probability C(k, r) C(entries - k, s - r) / C(entries, s), and
    loses those beyond ``kept``. Exact where each entry's bucket is as likely as any other's; buckets differ in size by
    one at most. k is at most ``entries``.
    """
    size, larger = divmod(entries, buckets)
    sizes = {size: buckets - larger, size + 1: larger}
    return 1 - sum(count * _lost(entries, k, size, kept) for size, count in sizes.items() if count) / k


def _lost(entries: int, k: int, size: int, kept: int) -> float:
    """Return the expected number of the k best that a bucket of this size loses."""
    rest = entries - k
    most, least = min(k, size), max(kept + 1, size - rest)
    log_ways = _log_choose(entries, size)
    return sum(
        (r - kept) * exp(_log_choose(k, r) + _log_choose(rest, size - r) - log_ways) for r in range(least, most + 1)
    )


def _log_choose(n: int, r: int) -> float:
    return lgamma(n + 1) - lgamma(r + 1) - lgamma(n - r + 1)
