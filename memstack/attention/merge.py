"""attend(): attend to what a memory found and merge it with a local attention (arXiv 2203.08913, section 3.2)."""

from typing import Literal, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from memstack.attention.interpolation import capped, check_softcap, interpolated, log_sum_exp, per_head, weight_of
from memstack.contract.errors import ShapeError
from memstack.contract.memory import Memory
from memstack.contract.ops import search, written
from memstack.contract.precision import at_least_float32
from memstack.contract.result import MISSING_SCORE, SearchResult
from memstack.contract.validation import expect

PerHead = Float[Tensor, " query_heads"] | float
PerQuery = Float[Tensor, "rows query_heads q"]
WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class Attended(NamedTuple):
    """What a layer's attention gives, its memory included."""

    output: Float[Tensor, "rows query_heads q value_dim"]
    """In the local output's dtype."""
    share: Float[Tensor, "rows query_heads q"]
    """The part of it that was retrieved: 0 where the memory found nothing."""


def attend(
    memory: Memory,
    queries: Float[Tensor, "rows query_heads q key_dim"],
    local: Float[Tensor, "rows query_heads q value_dim"],
    lse: Float[Tensor, "rows query_heads q"],
    neighbours: int = 32,
    *,
    gate: PerHead | PerQuery | None = None,
    scale: PerHead | None = None,
    bias: PerHead | None = None,
    age: PerHead | None = None,
    candidates: int | None = None,
    seen: Int[Tensor, "rows q"] | None = None,
    empty_memory: Literal["local", "zeros"] = "local",
    largest_share: float = 1.0,
    softcap: float | None = None,
) -> Attended:
    """Attend to the ``neighbours`` entries nearest to each query and merge that with a local attention's output.

    Retrieved scores are ``scale * queries . keys + bias - age * log(a)``, where a is how many entries ago the found one
    was written, 1 for the newest; the softmax over them mixes the found values. ``local`` and ``lse``, the log-sum-exp
    of its scores, come from ``local_attention`` or any kernel that gives both. The two are interpolated by the weight
    that one softmax over local and retrieved scores together would give the latter or, with a ``gate``, by its sigmoid
    (the paper's, one number per head; or one per query, as a model makes of the query's content). Everything per head
    is a number or (query_heads,), and may be learned. ``largest_share`` multiplies that weight: below 1 the local keys
    and values keep a gradient where a head has learned to look at nothing but its memory. ``softcap`` c makes scaled
    products s into c * tanh(s / c) before anything is added, as some models do with their local scores.

    ``scale`` is 1 / sqrt(key_dim) if not given; in one softmax it should be the local scores' own. ``candidates`` finds
    more entries than it keeps: the best ``neighbours`` of so many, once bias and age are in the score. ``seen`` says
    how many of its row's newest entries each query sees locally as well: they count as not found. Where the memory
    found nothing the output is ``local``, unless ``empty_memory="zeros"`` gives the gate its share of zeros (as the
    paper's released code does). Where a token saw nothing locally (an ``lse`` of -inf) the local output counts as 0: in
    one softmax the token has what was retrieved, with a gate, or a ``largest_share``, that share of it.

    It reads the memory only, by ``memstack.search``, so it compiles with fullgraph and may be checkpointed. The memory
    may be of any dtype and on any device.

    Raises:
        ShapeError: the local output, the log-sum-exp or what is per head does not fit the queries and the memory.
    """
    _check(memory, queries, local, lse, neighbours, candidates)
    _check_terms(gate, seen, largest_share, lse)
    check_softcap(softcap)
    found = search(memory, queries, candidates or neighbours)
    counts, added = _terms(memory, found, queries, bias, age, seen)
    factor = per_head("scale", queries.shape[-1] ** -0.5 if scale is None else scale, queries.shape[1])
    if candidates and candidates > neighbours:
        found, counts, added = _best(found, counts, factor, added, neighbours, softcap)
    scores = (capped(found.dot(queries) * factor, softcap) + added).masked_fill(~counts, MISSING_SCORE)
    weights = scores.softmax(-1)
    # What was not found reads as zeros; what was, and does not count, has to be left out.
    retrieved = found.mix(weights if seen is None else weights.masked_fill(~counts, 0.0))
    weight = weight_of(log_sum_exp(scores, weights), lse) if gate is None else _gate(gate, scores)
    weight = weight * largest_share if largest_share < 1 else weight
    if gate is None or empty_memory == "local":
        weight = weight.masked_fill(~counts.any(-1), 0.0)
    near = local.masked_fill(lse.isneginf()[..., None], 0.0)
    return Attended(interpolated(near, retrieved, weight).to(local.dtype), weight)


def ages(memory: Memory, found: SearchResult) -> Int[Tensor, "rows query_heads q k"]:
    """Return how many entries ago each found one was written: 1 for its row's newest, and 1 where nothing was found."""
    count: Int[Tensor, " rows"] = written(memory, found.scores)
    age = count[:, None, None, None] - found.positions
    return age.masked_fill(~found.mask, 1)


def _terms(
    memory: Memory, found: SearchResult, queries: Tensor, bias: PerHead | None, age: PerHead | None, seen: Tensor | None
) -> tuple[Tensor, Tensor | float]:
    """Which of the found entries count, and what is added to their scores."""
    counts, heads = found.mask, queries.shape[1]
    added = per_head("bias", 0.0 if bias is None else bias, heads)
    if age is None and seen is None:
        return counts, added
    old = ages(memory, found)
    if seen is not None:
        counts = counts & (old > seen.to(old.device)[:, None, :, None])
    if age is not None:
        added = added - per_head("age", age, heads) * old.to(at_least_float32(queries)).log()
    return counts, added


def _best(
    found: SearchResult,
    counts: Tensor,
    factor: Tensor | float,
    added: Tensor | float,
    neighbours: int,
    softcap: float | None,
) -> tuple[SearchResult, Tensor, Tensor | float]:
    """The best neighbours by their whole score, of all that count; which of them do, and what is added to scores."""
    with torch.no_grad():
        scores = (capped(found.scores * factor, softcap) + added).masked_fill(~counts, MISSING_SCORE)
        columns = scores.topk(neighbours).indices
    if isinstance(added, Tensor):
        added = added.expand_as(found.scores).gather(-1, columns)
    return found.take(columns), counts.gather(-1, columns), added


def _gate(gate: PerHead | PerQuery, scores: Tensor) -> Tensor:
    """The gate of every query: its own, or one number for all of a head's."""
    if isinstance(gate, Tensor) and gate.ndim == 3:
        return gate.to(scores.dtype).sigmoid()
    raw = per_head("gate", gate, scores.shape[1])
    raw = raw if isinstance(raw, Tensor) else torch.full((), raw, device=scores.device, dtype=torch.float32)
    return raw.to(scores.dtype).sigmoid().expand(*scores.shape[:3], 1)[..., 0]


def _check(
    memory: Memory, queries: Tensor, local: Tensor, lse: Tensor, neighbours: int, candidates: int | None
) -> None:
    if not isinstance(cast(object, memory), Memory):
        raise ShapeError(f"memory should be one layer's Memory, such as bank[1], got a {type(memory).__name__}")
    shape = memory.shape
    expect("queries", queries, rows=shape.rows, query_heads=None, q=None, key_dim=shape.key_dim)
    rows, heads, q, _ = queries.shape
    expect("local", local, rows=rows, query_heads=heads, q=q, value_dim=shape.value_dim)
    expect("lse", lse, rows=rows, query_heads=heads, q=q)
    if neighbours < 1:
        raise ShapeError(f"neighbours should be at least 1, got {neighbours}")
    if candidates is not None and candidates < neighbours:
        raise ShapeError(
            f"candidates should be at least neighbours={neighbours}, which are chosen of them, got {candidates}"
        )


def _check_terms(gate: PerHead | PerQuery | None, seen: Tensor | None, largest_share: float, lse: Tensor) -> None:
    rows, heads, q = lse.shape
    if isinstance(gate, Tensor) and gate.ndim > 1:
        expect("gate, if not one per head,", gate, rows=rows, query_heads=heads, q=q)
    if seen is not None and (tuple(seen.shape) != (rows, q) or seen.dtype not in WHOLE):
        raise ShapeError(
            f"seen should be whole numbers, one per query, ({rows}, {q}), got {seen.dtype} {tuple(seen.shape)}"
        )
    if not 0 < largest_share <= 1:
        raise ShapeError(f"largest_share should be above 0 and at most 1, got {largest_share}")
