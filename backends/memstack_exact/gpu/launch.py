"""The kernels in their order: of all keys the bucketed maxima, of these all that matter, of these the k best."""

# pyright: reportUnknownLambdaType=false

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from memstack.store import embedding_bag_triton, next_power_of_2
from memstack_exact.gpu.kernels import MOST_TILES, TILE, bucket_maxima, collect, pick

BUCKETS, MOST_BUCKETS = 1024, 8192
"""Buckets of each query. With 1024, every other query's best 32 keys have two in one, all of which is then scored."""
LARGEST_Q_BUCKET = 256
"""Query tiles are no larger; how many more queries there are does not change which tile is best."""


class Question(NamedTuple):
    """Rounded keys and queries of all memories, in units of their scales, and into which buckets the keys fall."""

    codes: Num[Tensor, "rows heads capacity dim"]
    scale: Float[Tensor, "rows heads capacity"]
    """Of 8-bit keys; otherwise any tensor."""
    queries: Num[Tensor, "rows heads q dim"]
    lengths: Int[Tensor, "rows heads"]
    splits: int
    tiles: int
    """Of a split: the t-th keys of its tiles make its t-th bucket."""

    @property
    def form(self) -> dict[str, Any]:
        """The sizes and the kind of keys that the kernels are compiled for."""
        width = max(32, next_power_of_2(self.codes.shape[-1]))
        return {"TILE": TILE, "WIDTH": width, "SCALED": self.codes.dtype == torch.int8}


def question(codes: Tensor, scale: Tensor, queries: Tensor, lengths: Int[Tensor, " rows"], k: int) -> Question:
    """Put the parts on the device; ``lengths`` are on the CPU."""
    of_memories = lengths[:, None].expand(codes.shape[:2]).contiguous().to(codes.device, non_blocking=True)
    return Question(codes, scale, queries.contiguous(), of_memories, *splits_of_tiles(int(lengths.max()), k))


def bucket_scores(question: Question) -> tuple[Tensor, Tensor]:
    """Return the best rounded score of every (query, bucket), with its tile in the low bits, and the second best.

    Both are (rows, heads, q, buckets).
    """
    codes, scale, queries, lengths, splits, tiles = question
    (rows, heads, q, dim), capacity = queries.shape, codes.shape[2]
    bests, seconds = (
        torch.empty(rows, heads, q, splits * TILE, device=codes.device, dtype=torch.float32) for _ in range(2)
    )
    q_bucket, form = min(LARGEST_Q_BUCKET, next_power_of_2(q)), question.form
    with torch.cuda.device_of(codes):
        bucket_maxima[lambda chosen: (rows * heads * splits * -(-q // chosen["Q_BLOCK"]),)](
            *(queries, codes, scale, lengths, bests, seconds, q, q_bucket, capacity, dim, splits, tiles),
            EVEN=dim == form["WIDTH"],
            **form,
        )
    return bests, seconds


def best_slots(
    question: Question,
    keys: Float[Tensor, "rows heads capacity dim"],
    queries: Float[Tensor, "rows heads q dim"],
    slack: Float[Tensor, "rows heads q"],
    k: int,
) -> tuple[Int[Tensor, "rows heads q k"], Bool[Tensor, "rows heads q"]]:
    """Return the slots of the k best keys in no order, -1 for none; and whether that is so, or there was no room.

    ``slack`` is twice how far a rounded score may be from the true one, in units of the queries' scale. Nothing here
    waits for the device. 8 KB a query are needed beside what is returned, more if k exceeds 64.
    """
    rows, heads, q, dim = queries.shape
    limit, bags = max(128, next_power_of_2(8 * k)), rows * heads * q
    listed = torch.full((bags, limit), -1, dtype=torch.int64, device=keys.device)
    found = torch.full((rows, heads, q, k), -1, dtype=torch.int64, device=keys.device)
    counts = torch.empty(rows, heads, q, dtype=torch.int32, device=keys.device)
    codes, scale, rounded_queries, lengths, splits, tiles = question
    bests, seconds = bucket_scores(question)
    given = bests, seconds, rounded_queries, codes, scale, lengths, slack.contiguous(), listed, counts
    room: dict[str, Any] = {"LIMIT": limit}
    blocks: dict[str, Any] = {"BUCKETS": splits * TILE, "TILES_BLOCK": min(32, next_power_of_2(tiles))}
    with torch.cuda.device_of(keys):
        collect[(bags,)](*given, q, keys.shape[2], dim, k, tiles, **blocks, **room, **question.form)
        scores = embedding_bag_triton.inner_products(queries.flatten(0, 2), keys.flatten(0, 2), listed)
        pick[(bags,)](listed, scores, counts, found, q, keys.shape[2], k, **room)
    return found, counts <= limit


def splits_of_tiles(used: int, k: int) -> tuple[int, int]:
    """Return how many splits of how many tiles the used slots are cut into: a bucket is a column of a split."""
    tiles = -(-used // TILE)
    wanted = min(MOST_BUCKETS, max(BUCKETS, k * k // 4)) // TILE
    splits = next_power_of_2(max(min(wanted, tiles), -(-tiles // MOST_TILES)))
    return splits, -(-tiles // splits)
