"""The true nearest neighbours by matrix product, in blocks of scores small enough to stay in the cache."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memstack.store.int8 import Quantised

BUCKET = 16  # how many scores share a maximum; 8 and 32 are slower at 4k and at 65k entries
KEYS = 8192  # keys that a block has at least: the k best of each block have to be sorted


def nearest_slots(
    keys: Float[Tensor, "rows heads capacity key_dim"] | Quantised,
    lengths: Int[Tensor, " rows"],
    queries: Float[Tensor, "rows heads q key_dim"],
    k: int,
    block: int | None = None,
) -> Int[Tensor, "rows heads q k"]:
    """Return where the k largest inner products are among the first ``lengths`` keys of each row, in no order.

    A row of fewer than k keys gets slots beyond its length in the columns that are left. ``lengths`` is on the CPU and
    its largest is at least k. ``block`` is how many scores are held at once: by default 1M on a CPU (4 MB, about a
    core's cache) and 256M elsewhere.
    """
    block = block or (1 << 20 if keys.device.type == "cpu" else 1 << 28)
    flat_keys, flat_queries = keys.flatten(0, 1), queries.flatten(0, 1)
    flat_lengths = lengths.repeat_interleave(keys.shape[1])
    memories, q, _ = flat_queries.shape
    slots = torch.empty(memories, q, k, dtype=torch.int64, device=keys.device)
    q_block = max(1, min(q, block // KEYS))
    m_block = max(1, block // (min(int(lengths.max()), KEYS) * q_block))
    for m in _slices(memories, m_block):
        for part in _slices(q, q_block):
            slots[m, part] = _best_of_blocks(flat_keys[m], flat_lengths[m], flat_queries[m, part], k, block)
    return slots.unflatten(0, keys.shape[:2])


def _best_of_blocks(
    keys: Float[Tensor, "memories capacity key_dim"] | Quantised,
    lengths: Int[Tensor, " memories"],
    queries: Float[Tensor, "memories q key_dim"],
    k: int,
    block: int,
) -> Int[Tensor, "memories q k"]:
    """Keep the best k of one block of keys after the other."""
    longest = max(int(lengths.max()), k)
    size = max(block // (queries.shape[0] * queries.shape[1]), k)
    scores, slots = [], []
    for key_block in _slices(longest, size):
        products = torch.bmm(queries, keys[:, key_block].to(torch.float32).mT)
        dead = _dead(lengths, key_block)
        if dead is not None:
            products.masked_fill_(dead[:, None].to(products.device), -torch.inf)
        found = top_k(products, min(k, products.shape[-1]))
        scores, slots = [*scores, products.gather(-1, found)], [*slots, found + key_block.start]
        if len(scores) > 1:
            best = torch.cat(scores, -1).topk(k, sorted=False)
            scores, slots = [best.values], [torch.cat(slots, -1).gather(-1, best.indices)]
    return slots[0]


def _dead(lengths: Int[Tensor, " memories"], block: slice) -> Bool[Tensor, "memories slots"] | None:
    """Return True for the slots of a block that hold nothing, or None if all hold a key."""
    if int(lengths.min()) >= block.stop:
        return None
    return torch.arange(block.start, block.stop, dtype=torch.int64, device="cpu") >= lengths[:, None]


def _slices(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(total, start + size)) for start in range(0, total, size))


def top_k(scores: Float[Tensor, "*outer n"], k: int) -> Int[Tensor, "*outer k"]:
    """Return where the k largest scores are, in no order, at about half the price of torch.topk.

    The scores are dealt into strided buckets (score i into bucket i mod n/16). The k largest lie in the k buckets with
    the largest maxima, for those k maxima alone are no smaller than any score elsewhere. So only 16k scores and the
    maxima need sorting.
    """
    n = scores.shape[-1]
    buckets = n // BUCKET
    if buckets < 2 * k:
        return scores.topk(k, sorted=False).indices
    dealt = scores[..., : buckets * BUCKET].unflatten(-1, (BUCKET, buckets))
    best = dealt.amax(-2).topk(k, sorted=False).indices
    members = dealt.gather(-1, best[..., None, :].expand(*best.shape[:-1], BUCKET, k)).flatten(-2)
    tail = scores[..., buckets * BUCKET :]
    chosen = torch.cat([members, tail], -1).topk(k, sorted=False).indices
    in_bucket = (chosen // k) * buckets + best.gather(-1, chosen % k)
    return torch.where(chosen < BUCKET * k, in_bucket, chosen - BUCKET * k + buckets * BUCKET)
