"""The bucket reduction of TPU-KNN (Chern et al., arXiv 2206.14286) in plain JAX, so that it runs on any device."""

import math

import jax
import jax.numpy as jnp
import numpy as np

TILE = 128  # the lanes of a TPU register: XLA keeps a whole number of them


def bucket_count(n: int, k: int, recall_target: float) -> int:
    """Return how many buckets XLA reduces n scores to; n itself where a reduction would not pay.

    A neighbour survives if no better one shares its bucket. ``(1-k) / ln(recall_target)`` buckets are enough for that
    (arXiv 2206.14286, section 4), and halving n a whole number of times leaves at least as many.
    """
    depth = 1 << _halvings(n, k, recall_target)
    return n if depth == 1 else math.ceil(math.ceil(n / TILE) / depth) * TILE


def bucket_top_k(scores: jax.Array, k: int, recall_target: float) -> tuple[jax.Array, jax.Array]:
    """Return the k largest of the (n,) scores' bucket maxima and where they are; fewer if there are fewer buckets.

    Score i is dealt into bucket i modulo the number of buckets, of which only the largest survives.
    """
    buckets = bucket_count(len(scores), k, recall_target)
    gap = -len(scores) % buckets
    dealt = jnp.pad(scores, (0, gap), constant_values=-jnp.inf).reshape(-1, buckets)
    best, winners = jax.lax.top_k(dealt.max(0), min(k, buckets))
    return best, dealt.argmax(0)[winners] * buckets + winners


def _halvings(n: int, k: int, recall_target: float) -> int:
    if n <= TILE:
        return 0
    most = math.ceil(math.log2(math.ceil(n / TILE)))
    if k == 1:
        return most
    target = float(np.float32(recall_target))  # as XLA holds it
    if target == 1:
        return 0
    enough = int((1 - k) / math.log(target))
    return min(most, int(math.log2(n / min(max(enough, TILE), n))))
