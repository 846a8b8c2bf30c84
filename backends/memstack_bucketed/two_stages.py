"""The two stages of the search: the best of every bucket, block by block of keys; then the best of those."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memstack import Quantised
from memstack_bucketed.assignment import BucketAssignment, assign_buckets
from memstack_bucketed.plan import BucketPlan
from memstack_bucketed.sorted_runs import LEAST, largest, merged

KEYS_AT_ONCE = 4096
"""Keys of one memory that a block of many queries' scores has: 1 MB of them at width 64."""


def bucketed_slots(
    keys: Float[Tensor, "rows heads capacity key_dim"] | Quantised,
    lengths: Int[Tensor, " rows"],
    queries: Float[Tensor, "rows heads q key_dim"],
    k: int,
    plan: BucketPlan,
    block: int,
) -> Int[Tensor, "rows heads q k"]:
    """Return where the k largest inner products are among the ``plan.kept`` largest of every bucket, in no order.

    Only the first ``lengths`` keys of a row are live (``lengths`` is on the CPU). Where fewer than k of them are found,
    slots that are not live fill the columns. ``block`` scores are held at once, or as many as there are buckets; and as
    many candidates.
    """
    assignment = assign_buckets(int(lengths.max()), plan.buckets, keys.device)
    flat_keys, flat_queries = keys.flatten(0, 1), queries.flatten(0, 1)
    flat_lengths = lengths.repeat_interleave(keys.shape[1])
    memories, q, _ = flat_queries.shape
    slots = torch.empty(memories, q, k, dtype=torch.int64, device=keys.device)
    slots_at_once = max(plan.buckets, min(KEYS_AT_ONCE, assignment.tiles * plan.buckets))
    q_block = max(1, min(q, block // slots_at_once))
    m_block = max(1, block // (q_block * assignment.tiles * plan.buckets))
    tiles_at_once = max(1, block // (q_block * plan.buckets))
    # Of so many queries the candidates are held at once; their scores, block by block.
    q_chunk = max(q_block, block // plan.candidates)
    for m in range(0, memories, m_block):
        m_slice = slice(m, m + m_block)
        for start in range(0, q, q_chunk):
            q_slice = slice(start, start + q_chunk)
            parts = flat_queries[m_slice, q_slice].split(q_block, 1)
            best = _best_of_buckets(
                flat_keys[m_slice], flat_lengths[m_slice], parts, assignment, plan.kept, tiles_at_once
            )
            slots[m_slice, q_slice] = _best_slots(best, assignment, k)
    return slots.unflatten(0, keys.shape[:2])


def _best_of_buckets(
    keys: Float[Tensor, "memories capacity key_dim"] | Quantised,
    lengths: Int[Tensor, " memories"],
    query_parts: Sequence[Float[Tensor, "memories q_block key_dim"]],
    assignment: BucketAssignment,
    kept: int,
    tiles_at_once: int,
) -> Float[Tensor, "memories q candidates"]:
    """The first stage: the best scores of every bucket, numbered by their tile; of the queries, part by part."""
    best: list[list[Tensor]] = [[] for _ in query_parts]
    for first in range(0, assignment.tiles, tiles_at_once):
        tiles = range(first, min(first + tiles_at_once, assignment.tiles))
        slots = assignment.slots(tiles)
        # Keys are dealt, at the price of a few queries: dealing scores would cost as much for every query.
        dealt = keys.index_select(1, slots.clamp(max=keys.shape[1] - 1)).to(torch.float32).mT
        penalty = None
        if tiles.stop * assignment.buckets > int(lengths.min()):
            dead = slots >= lengths.to(slots.device)[:, None]
            # What a slot held before a reset may be of any length: its scores are made 0 before they are put last.
            dealt = dealt.masked_fill(dead[:, None], 0)
            penalty = _penalty(dead)
        for place, queries in enumerate(query_parts):
            scores = torch.bmm(queries, dealt)
            if penalty is not None:
                scores += penalty
            found = largest(
                _numbered(scores.unflatten(-1, (-1, assignment.buckets)), tiles, assignment.tile_bits), kept
            )
            best[place] = merged(best[place], found, kept) if first else found
    return torch.cat([torch.cat(runs, -1) for runs in best], 1)


def _penalty(dead: Bool[Tensor, "memories slots"]) -> Float[Tensor, "memories 1 slots"]:
    """Return numbers that, added to scores, put dead slots last: masked_fill_ costs more than the product."""
    return torch.where(dead, LEAST, 0.0)[:, None]


def _numbered(scores: Float[Tensor, "memories q tiles buckets"], tiles: range, bits: int) -> Tensor:
    """Write the number of its tile over the last bits of each score, in place, so that a maximum tells where it was.

    Two scores that differ by less than that count as equal: with the most tiles that a plan has, by 2^-14 of their
    size. What is proposed is scored anew.
    """
    numbers = torch.arange(tiles.start, tiles.stop, dtype=torch.int32, device=scores.device)[:, None]
    scores.view(torch.int32).bitwise_and_(-1 << bits).bitwise_or_(numbers)
    return scores


def _best_slots(
    best: Float[Tensor, "memories q candidates"], assignment: BucketAssignment, k: int
) -> Int[Tensor, "memories q k"]:
    """The second stage: where the k best of the candidates are."""
    bits = best.view(torch.int32)
    # Integers in the order of the floats: torch chooses among them in two thirds of the time.
    place = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).topk(k, sorted=False).indices
    # NaN, and what stands for a missing score, may name a tile that there is not.
    tile = (bits.gather(-1, place) & ((1 << assignment.tile_bits) - 1)).clamp(max=assignment.tiles - 1)
    return assignment.slot(tile.long(), place & (assignment.buckets - 1))
