"""Triton kernels of the first pass on a GPU: scores live in registers only.

The key tiles are cut into splits; a bucket is a column of one. Of every (query, bucket) ``bucket_maxima`` keeps the
best approximate score, with the number of its tile in the low bits, and the second best. ``collect`` finds the k-th
best of them, lists every key that lies no further below it than ``slack`` allows, and says how many there are. ``pick``
takes the k best of what was listed by their true scores.
"""

# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUntypedFunctionDecorator=false
# (Triton compiles the kernels' bodies; their parameters have the types that they are launched with.)

import os

import triton
import triton.language as tl

TILE = 64
"""Keys that are scored at once."""
MOST_TILES = 256
"""Tiles that a split has at most: their number is the low 8 bits of a score."""
DEAD = tl.constexpr(-3e38)
"""The score of no key. Not -inf: a number in the low bits would make that NaN."""
LOWEST = tl.constexpr(-1e38)
"""Below every score of a key."""
INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


def _configs() -> list[triton.Config]:
    """Few queries, as in decoding, want small query tiles; the best choice for many depends on a GPU's registers."""
    if INTERPRETED.value:
        return [triton.Config({"Q_BLOCK": 16})]  # there is nothing to choose by
    tiles = ((16, 4), (64, 4), (128, 4), (128, 8), (256, 8))
    return [
        triton.Config({"Q_BLOCK": q_block}, num_warps=warps, num_stages=stages)
        for q_block, warps in tiles
        for stages in (2, 4)
    ]


@triton.jit
def _keep(
    queries,
    keys,
    scale,
    best,
    second,
    number,
    length,
    dim,
    TILE: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALED: tl.constexpr,
    FULL: tl.constexpr,
):
    """Score one tile of a split's keys and update the best and second best score of each (query, column)."""
    column, at = tl.arange(0, TILE), tl.arange(0, WIDTH)
    slot = number * TILE + column
    address = keys + slot[None, :] * dim + at[:, None]
    block = tl.load(address) if FULL else tl.load(address, mask=(at < dim)[:, None] & (slot < length)[None, :], other=0)
    if SCALED:
        factor = tl.load(scale + slot) if FULL else tl.load(scale + slot, mask=slot < length, other=0.0)
        score = tl.dot(queries, block, out_dtype=tl.int32).to(tl.float32) * factor[None, :]
    elif INTERPRETED:
        # numpy has no bfloat16: the interpreter would multiply the bits. The products are the same.
        score = tl.dot(queries.to(tl.float32), block.to(tl.float32))
    else:
        score = tl.dot(queries, block, out_dtype=tl.float32)
    score = ((score.to(tl.int32, bitcast=True) & -256) | number).to(tl.float32, bitcast=True)
    if not FULL:
        score = tl.where((slot < length)[None, :], score, DEAD)
    return tl.maximum(best, score), tl.maximum(second, tl.minimum(best, score))


@triton.autotune(configs=_configs(), key=["q_bucket", "WIDTH", "SCALED"])
@triton.jit(do_not_specialize=["q", "q_bucket", "splits", "tiles"])
def bucket_maxima(
    queries,  # (memories, q, dim), as the keys
    keys,  # (memories, capacity, dim), int8 or bfloat16
    scale,  # (memories, capacity) of int8 keys
    lengths,  # (memories,)
    bests,  # (memories, q, splits * TILE)
    seconds,
    q,
    q_bucket,  # q rounded up to a power of two: the best Q_BLOCK is chosen once for each
    capacity,
    dim,
    splits,
    tiles,  # of a split
    TILE: tl.constexpr,
    WIDTH: tl.constexpr,
    EVEN: tl.constexpr,  # dim is WIDTH
    SCALED: tl.constexpr,
    Q_BLOCK: tl.constexpr,
):
    # Programs that share keys run side by side.
    program = tl.program_id(0)
    parts = tl.cdiv(q, Q_BLOCK)
    memory, split, part = program // (parts * splits), program // parts % splits, program % parts
    memory = memory.to(tl.int64)
    at = tl.arange(0, WIDTH)
    query = part * Q_BLOCK + tl.arange(0, Q_BLOCK)
    wanted = (query < q)[:, None]
    block = tl.load(
        queries + memory * q * dim + query[:, None] * dim + at[None, :],
        mask=wanted & (at < dim)[None, :],
        other=0,
    )
    # Where the split begins; an address is 64 bits wide, as a store may have more than 2^31 numbers.
    first = memory * capacity + split * tiles * TILE
    keys += first * dim
    scale += first
    # What is left of the row's keys from there on.
    length = tl.load(lengths + memory).to(tl.int32) - split * tiles * TILE
    best = tl.full([Q_BLOCK, TILE], DEAD, tl.float32)
    second = best
    last = tl.minimum(tiles, tl.cdiv(tl.maximum(length, 0), TILE))
    # Full tiles need no masks; padded dimensions do.
    full_tiles = 0
    if EVEN:
        full_tiles = tl.minimum(last, tl.maximum(length, 0) // TILE)
    for tile in range(0, full_tiles):
        best, second = _keep(block, keys, scale, best, second, tile, length, dim, TILE, WIDTH, SCALED, True)
    for tile in range(full_tiles, last):
        best, second = _keep(block, keys, scale, best, second, tile, length, dim, TILE, WIDTH, SCALED, False)
    at_bucket = (memory * q + query[:, None]) * (splits * TILE) + split * TILE + tl.arange(0, TILE)[None, :]
    tl.store(bests + at_bucket, best, mask=wanted)
    tl.store(seconds + at_bucket, second, mask=wanted)


@triton.jit
def _ordered(score):
    """Whole numbers in the order of the float32 numbers, and back: it is its own inverse."""
    return score ^ ((score >> 31) & 0x7FFFFFFF)


@triton.jit
def _kth_largest(one, other, k, BITS: tl.constexpr):
    """The k-th largest of both, in its upper BITS bits: the largest number that at least k are not below."""
    one, other = _ordered(one.to(tl.int32, bitcast=True)), _ordered(other.to(tl.int32, bitcast=True))
    enough = tl.sum((one >= 0).to(tl.int32), 0) + tl.sum((other >= 0).to(tl.int32), 0) >= k
    found = tl.where(enough, 0, -2147483648)
    for bit in tl.static_range(1, BITS):
        higher = found + (1 << (31 - bit))
        count = tl.sum((one >= higher).to(tl.int32), 0) + tl.sum((other >= higher).to(tl.int32), 0)
        found = tl.where(count >= k, higher, found)
    return _ordered(found).to(tl.float32, bitcast=True)


@triton.jit(do_not_specialize=["q", "k", "tiles"])
def collect(
    bests,
    seconds,
    queries,
    keys,
    scale,
    lengths,
    slack,  # (memories, q): twice how far an approximate score may lie from the true one
    listed,  # (memories, q, LIMIT) of rows of all memories' keys, filled with -1
    counts,  # (memories, q); more than LIMIT if they did not fit
    q,
    capacity,
    dim,
    k,
    tiles,
    BUCKETS: tl.constexpr,
    TILE: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALED: tl.constexpr,
    LIMIT: tl.constexpr,
    TILES_BLOCK: tl.constexpr,
):
    query = tl.program_id(0).to(tl.int64)
    memory = query // q
    length = tl.load(lengths + memory).to(tl.int32)
    bucket = tl.arange(0, BUCKETS)
    best = tl.load(bests + query * BUCKETS + bucket)
    second = tl.load(seconds + query * BUCKETS + bucket)
    # Less than LOWEST, or NaN, where fewer than k keys were kept: then all may be among the best.
    bar = _kth_largest(best, second, k, 24) - tl.load(slack + query)
    bar = tl.where(bar > LOWEST, bar, LOWEST)
    opened = second >= bar
    single = (best >= bar) & ~opened
    slot = (bucket // TILE * tiles + (best.to(tl.int32, bitcast=True) & 255)) * TILE + bucket % TILE
    place = tl.cumsum(single.to(tl.int32), 0) - 1
    listed += query * LIMIT
    before = memory * capacity
    tl.store(listed + place, before + slot, mask=single & (place < LIMIT))
    count = tl.sum(single.to(tl.int32), 0)
    # Of an opened bucket at least two keys are listed: so many would not fit.
    rank = tl.cumsum(opened.to(tl.int32), 0)
    number = tl.sum(opened.to(tl.int32), 0)
    if 2 * number + count > LIMIT:
        count, number = LIMIT + 1, 0
    at = tl.arange(0, WIDTH)
    own = tl.load(queries + query * dim + at, mask=at < dim, other=0).to(tl.float32)
    keys += before * dim
    for i in range(1, number + 1):
        open_bucket = tl.sum(tl.where(opened & (rank == i), bucket, 0), 0)
        for first_tile in range(0, tiles, TILES_BLOCK):
            tile = first_tile + tl.arange(0, TILES_BLOCK)
            member = (open_bucket // TILE * tiles + tile) * TILE + open_bucket % TILE
            live = (tile < tiles) & (member < length)
            codes = tl.load(
                keys + member.to(tl.int64)[:, None] * dim + at[None, :],
                mask=live[:, None] & (at < dim)[None, :],
                other=0,
            )
            score = tl.sum(codes.to(tl.float32) * own[None, :], 1)
            if SCALED:
                score *= tl.load(scale + before + member, mask=live, other=0.0)
            kept = live & (score >= bar)
            next_place = count + tl.cumsum(kept.to(tl.int32), 0) - 1
            tl.store(listed + next_place, before + member, mask=kept & (next_place < LIMIT))
            count += tl.sum(kept.to(tl.int32), 0)
    tl.store(counts + query, count)


@triton.jit(do_not_specialize=["q", "k"])
def pick(listed, scores, counts, found, q, capacity, k, LIMIT: tl.constexpr):
    """Write the slots of the k largest scores of each query to ``found``, (memories, q, k), filled with -1."""
    query = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, LIMIT)
    count = tl.load(counts + query)
    live = at < count
    score = tl.where(live, tl.load(scores + query * LIMIT + at), float("-inf"))
    kth = _kth_largest(score, tl.full([LIMIT], float("-inf"), tl.float32), k, 32)
    # Of those that tie with the k-th the first ones; all, where there are no more than k.
    above = live & (score > kth)
    tied = live & (score == kth)
    room = k - tl.sum(above.to(tl.int32), 0)
    taken = above | (tied & (tl.cumsum(tied.to(tl.int32), 0) <= room)) | (live & (count <= k))
    place = tl.cumsum(taken.to(tl.int32), 0) - 1
    slot = tl.load(listed + query * LIMIT + at) - query // q * capacity
    tl.store(found + query * k + place, slot, mask=taken & (place < k))
