"""Triton kernels of the first pass on a GPU: scores live in registers only (paper notes, 4.3).

A bucket is a column of a run of key tiles. Of every (query, bucket) ``bucket_maxima`` keeps the best approximate score,
with the number of its tile in the low bits, and the second best. ``collect`` finds the k-th best of them, lists every
key that lies no further below it than ``slack`` allows, and says how many there are. ``pick`` takes the k best of what
was listed by their true scores.
"""

# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUntypedFunctionDecorator=false
# (Triton compiles the kernels' bodies; their parameters have the types that they are launched with.)

import os

import triton
import triton.language as tl

TILE = 64
"""Keys that are scored at once."""
TILES = 256
"""Tiles that a bucket may run through: their number is the low 8 bits of a score."""
DEAD = tl.constexpr(-3e38)
"""The score of no key. Not -inf: a number in the low bits would make that NaN."""
LOWEST = tl.constexpr(-1e38)
"""Below every score of a key."""
INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


def _configs() -> list[triton.Config]:
    """Few queries, as in decoding, want small query tiles; the best choice for many depends on a GPU's registers."""
    if INTERPRETED.value:
        return [triton.Config({"ASKED": 16})]  # there is nothing to choose by
    tiles = ((16, 4), (64, 4), (128, 4), (128, 8), (256, 8))
    return [
        triton.Config({"ASKED": asked}, num_warps=warps, num_stages=stages)
        for asked, warps in tiles
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
    WHOLE: tl.constexpr,
):
    """Score one tile of a run's keys and update the best and second best score of each (query, column)."""
    column, at = tl.arange(0, TILE), tl.arange(0, WIDTH)
    slot = number * TILE + column
    address = keys + slot[None, :] * dim + at[:, None]
    if WHOLE:
        block = tl.load(address)
    else:
        block = tl.load(address, mask=(at < dim)[:, None] & (slot < length)[None, :], other=0)
    if SCALED:
        factor = tl.load(scale + slot) if WHOLE else tl.load(scale + slot, mask=slot < length, other=0.0)
        score = tl.dot(queries, block, out_dtype=tl.int32).to(tl.float32) * factor[None, :]
    elif INTERPRETED:
        # numpy has no bfloat16: the interpreter would multiply the bits. The products are the same.
        score = tl.dot(queries.to(tl.float32), block.to(tl.float32))
    else:
        score = tl.dot(queries, block, out_dtype=tl.float32)
    score = ((score.to(tl.int32, bitcast=True) & -256) | number).to(tl.float32, bitcast=True)
    if not WHOLE:
        score = tl.where((slot < length)[None, :], score, DEAD)
    return tl.maximum(best, score), tl.maximum(second, tl.minimum(best, score))


@triton.autotune(configs=_configs(), key=["about", "WIDTH", "SCALED"])
@triton.jit(do_not_specialize=["asked", "about", "runs", "tiles"])
def bucket_maxima(
    queries,  # (memories, asked, dim), as the keys
    keys,  # (memories, capacity, dim), int8 or bfloat16
    scale,  # (memories, capacity) of int8 keys
    lengths,  # (memories,)
    bests,  # (memories, asked, runs * TILE)
    seconds,
    asked,
    about,  # how many are asked, roughly
    capacity,
    dim,
    runs,
    tiles,  # of a run
    TILE: tl.constexpr,
    WIDTH: tl.constexpr,
    EVEN: tl.constexpr,  # dim is WIDTH
    SCALED: tl.constexpr,
    ASKED: tl.constexpr,
):
    # Programs that share keys run side by side.
    program = tl.program_id(0)
    parts = tl.cdiv(asked, ASKED)
    memory, run, part = program // (parts * runs), program // parts % runs, program % parts
    memory = memory.to(tl.int64)
    at = tl.arange(0, WIDTH)
    query = part * ASKED + tl.arange(0, ASKED)
    wanted = (query < asked)[:, None]
    block = tl.load(
        queries + memory * asked * dim + query[:, None] * dim + at[None, :],
        mask=wanted & (at < dim)[None, :],
        other=0,
    )
    # Where the run begins; an address is 64 bits wide, as a store may have more than 2^31 numbers.
    first = memory * capacity + run * tiles * TILE
    keys += first * dim
    scale += first
    # What is left of the row's keys from there on.
    length = tl.load(lengths + memory).to(tl.int32) - run * tiles * TILE
    best = tl.full([ASKED, TILE], DEAD, tl.float32)
    second = best
    last = tl.minimum(tiles, tl.cdiv(tl.maximum(length, 0), TILE))
    # Whole tiles need no masks; padded dimensions do.
    whole = 0
    if EVEN:
        whole = tl.minimum(last, tl.maximum(length, 0) // TILE)
    for tile in range(0, whole):
        best, second = _keep(block, keys, scale, best, second, tile, length, dim, TILE, WIDTH, SCALED, True)
    for tile in range(whole, last):
        best, second = _keep(block, keys, scale, best, second, tile, length, dim, TILE, WIDTH, SCALED, False)
    at_bucket = (memory * asked + query[:, None]) * (runs * TILE) + run * TILE + tl.arange(0, TILE)[None, :]
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


@triton.jit(do_not_specialize=["asked", "k", "tiles"])
def collect(
    bests,
    seconds,
    queries,
    keys,
    scale,
    lengths,
    slack,  # (memories, asked): twice how far an approximate score may lie from the true one
    listed,  # (memories, asked, LIMIT) of rows of all memories' keys, filled with -1
    counts,  # (memories, asked); more than LIMIT if they did not fit
    asked,
    capacity,
    dim,
    k,
    tiles,
    BUCKETS: tl.constexpr,
    TILE: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALED: tl.constexpr,
    LIMIT: tl.constexpr,
    SOME: tl.constexpr,
):
    query = tl.program_id(0).to(tl.int64)
    memory = query // asked
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
        for some in range(0, tiles, SOME):
            tile = some + tl.arange(0, SOME)
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


@triton.jit(do_not_specialize=["asked", "k"])
def pick(listed, scores, counts, found, asked, capacity, k, LIMIT: tl.constexpr):
    """Write the slots of the k largest scores of each query to ``found``, (queries, k), filled with -1."""
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
    slot = tl.load(listed + query * LIMIT + at) - query // asked * capacity
    tl.store(found + query * k + place, slot, mask=taken & (place < k))
