"""The true nearest neighbours by matrix product, in blocks of scores small enough to stay in the cache."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memstack.quantised import Quantised

BUCKET = 16  # how many scores share a maximum; 8 and 32 are slower at 4k and at 65k entries


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
    used = int(lengths.max())
    memories, flat = keys[:, :, :used].flatten(0, 1), queries.flatten(0, 1)
    dead = None
    if int(lengths.min()) < used:
        dead = torch.arange(used) >= lengths.repeat_interleave(keys.shape[1])[:, None]
        dead = dead[:, None].to(keys.device)
    slots = torch.empty(*flat.shape[:2], k, dtype=torch.int64, device=keys.device)
    q_block = max(1, min(flat.shape[1], block // used))
    m_block = max(1, block // (used * q_block))
    for m in range(0, flat.shape[0], m_block):
        some = slice(m, m + m_block)
        transposed = memories[some].to(torch.float32).mT
        for q in range(0, flat.shape[1], q_block):
            scores = torch.bmm(flat[some, q : q + q_block], transposed)
            if dead is not None:
                scores.masked_fill_(dead[some], -torch.inf)
            slots[some, q : q + q_block] = top_k(scores, k)
    return slots.unflatten(0, keys.shape[:2])


def top_k(scores: Float[Tensor, "*outer n"], k: int) -> Int[Tensor, "*outer k"]:
    """Return where the k largest scores are, in no order, at about half the price of torch.topk.

    The scores are dealt into strided buckets (score i into bucket i mod n/16). The k largest lie in the k buckets with
    the largest maxima, so that only 16k scores and the maxima need sorting (paper notes, exact bucket argument).
    """
    n = scores.shape[-1]
    buckets = n // BUCKET
    if buckets < 2 * k:
        return scores.topk(k, sorted=False).indices
    whole = scores[..., : buckets * BUCKET].unflatten(-1, (BUCKET, buckets))
    best = whole.amax(-2).topk(k, sorted=False).indices
    members = whole.gather(-1, best[..., None, :].expand(*best.shape[:-1], BUCKET, k)).flatten(-2)
    tail = scores[..., buckets * BUCKET :]
    chosen = torch.cat([members, tail], -1).topk(k, sorted=False).indices
    in_bucket = (chosen // k) * buckets + best.gather(-1, chosen % k)
    return torch.where(chosen < BUCKET * k, in_bucket, chosen - BUCKET * k + buckets * BUCKET)
