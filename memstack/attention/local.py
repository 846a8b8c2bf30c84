"""local_attention(): attention over the keys at hand, and its log-sum-exp, which a memory's attention is merged by."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memstack.attention.interpolation import capped, check_softcap, interpolated, log_sum_exp, per_head, weight_of
from memstack.attention.kernels import flash
from memstack.contract.errors import ShapeError
from memstack.contract.precision import at_least_float32
from memstack.contract.result import MISSING_SCORE
from memstack.contract.validation import expect


def local_attention(
    queries: Float[Tensor, "rows query_heads q key_dim"],
    keys: Float[Tensor, "rows heads n key_dim"],
    values: Float[Tensor, "rows heads n value_dim"],
    *,
    scale: Float[Tensor, " query_heads"] | float | None = None,
    bias: Float[Tensor, "... q n"] | None = None,
    mask: Bool[Tensor, "... q n"] | None = None,
    causal: bool = True,
    softcap: float | None = None,
) -> tuple[Float[Tensor, "rows query_heads q value_dim"], Float[Tensor, "rows query_heads q"]]:
    """Attend to the keys at hand: the output, in the values' dtype, and the log-sum-exp of every query's scores.

    The scores are ``scale * queries . keys + bias``; ``scale`` is 1 / sqrt(key_dim) or given, per head if learned.
    ``softcap`` c makes scaled products s into c * tanh(s / c) before the bias is added.
    Consecutive query heads share a key head (grouped queries). ``causal`` lets the last query see all keys and each one
    before it one key less, so that keys may begin with a cache. ``mask`` is True where a query sees a key; mask and
    bias are broadcast over rows and heads, and a bias of -inf hides a key too. Where a query sees nothing the output is
    0 and the log-sum-exp -inf. Both outputs have gradients, in queries, keys, values, scale and bias.

    Without mask, bias and cap, and in one dtype, torch's flash kernels never hold all scores (it is not twice
    differentiable then); otherwise it is plain math. Derivatives are of reverse mode.

    Raises:
        ShapeError: queries, keys and values, mask or bias do not fit one another.
    """
    _check(queries, keys, values, mask, bias)
    check_softcap(softcap)
    factor = queries.shape[-1] ** -0.5 if scale is None else scale
    spelled_out = mask is not None or bias is not None or softcap is not None
    if spelled_out or not _has_kernel(queries, keys, values, causal):
        return _plain(queries, keys, values, factor, bias, _visible(queries, keys, mask, causal), softcap)
    if isinstance(factor, Tensor):
        queries, factor = (queries * per_head("scale", factor, queries.shape[1])).to(queries.dtype), 1.0
    keys, values = (_for_every_query_head(each, queries.shape[1]) for each in (keys, values))
    cached = keys.shape[2] - queries.shape[2]
    if not causal or not cached:
        return flash(queries, keys, values, factor, causal)
    # What is cached all queries see, of the rest the kernel's own triangle: two attentions, merged as a memory's is.
    before = flash(queries, keys[:, :, :cached], values[:, :, :cached], factor, False)
    present = flash(queries, keys[:, :, cached:], values[:, :, cached:], factor, True)
    output = interpolated(before[0], present[0], weight_of(present[1], before[1]))
    return output.to(values.dtype), torch.logaddexp(before[1], present[1])


def _check(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, bias: Tensor | None) -> None:
    expect("queries", queries, rows=None, query_heads=None, q=None, key_dim=None)
    rows, query_heads, _, key_dim = queries.shape
    expect("keys", keys, rows=rows, heads=None, n=None, key_dim=key_dim)
    expect("values", values, rows=rows, heads=keys.shape[1], n=keys.shape[2], value_dim=None)
    if keys.shape[1] == 0 or query_heads % keys.shape[1]:
        raise ShapeError(f"query_heads should be a multiple of the keys' heads={keys.shape[1]}, got {query_heads}")
    if mask is not None and mask.dtype != torch.bool:
        raise ShapeError(f"mask should be bool, True where a query sees a key, got {mask.dtype}")
    sizes = {"rows": rows, "query_heads": query_heads, "q": queries.shape[2], "n": keys.shape[2]}
    for name, given in (("mask", mask), ("bias", bias)):
        if given is not None and not _broadcasts(tuple(given.shape), tuple(sizes.values())):
            wanted = ", ".join(f"{axis}={size}" for axis, size in sizes.items())
            raise ShapeError(f"{name} should fit ({wanted}), got {tuple(given.shape)}")
    if queries.dtype != keys.dtype and not torch.is_autocast_enabled(queries.device.type):
        raise ShapeError(
            f"queries and keys should be of one dtype, got {queries.dtype} and {keys.dtype}; convert either"
        )


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(size in (1, wanted) for size, wanted in pairs)


def _has_kernel(queries: Tensor, keys: Tensor, values: Tensor, causal: bool) -> bool:
    alike = queries.dtype == keys.dtype == values.dtype and keys.shape[-1] == values.shape[-1]
    # A query that sees nothing is no kernel's business.
    return alike and keys.shape[2] >= (queries.shape[2] if causal else 1) and queries.numel() > 0


def _visible(queries: Tensor, keys: Tensor, mask: Tensor | None, causal: bool) -> Tensor | None:
    if not causal:
        return mask
    q, n = queries.shape[2], keys.shape[2]
    earlier = torch.ones(q, n, dtype=torch.bool, device=queries.device).tril(n - q)
    return earlier if mask is None else mask & earlier


def _for_every_query_head(shared: Tensor, query_heads: int) -> Tensor:
    """The keys, or values, of each query head."""
    return shared if shared.shape[1] == query_heads else shared.repeat_interleave(query_heads // shared.shape[1], 1)


def _plain(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    scale: Tensor | float,
    bias: Tensor | None,
    visible: Tensor | None,
    softcap: float | None,
) -> tuple[Tensor, Tensor]:
    """Scores, softmax and sum, spelled out; each key head serves its group of query heads."""
    factor, wide = per_head("scale", scale, queries.shape[1]), at_least_float32(queries)
    if queries.dtype == torch.bfloat16:  # which has too few digits for the scale to come first
        scores = _by_group(queries, keys.mT).to(wide) * factor
    else:  # of which float16 could overflow otherwise
        scores = _by_group((queries * factor).to(queries.dtype), keys.mT).to(wide)
    scores = capped(scores, softcap)
    # In place: no gradient needs what scores were before, and memory for as many takes longer than the sum.
    if bias is not None:
        scores.add_(bias.to(scores.dtype).clamp(min=MISSING_SCORE))  # float16 has no number so low
    if visible is not None:
        with torch.no_grad():  # what has no weight has no gradient either
            scores.masked_fill_(~visible, MISSING_SCORE)
    weights = scores.softmax(-1)
    lse = log_sum_exp(scores, weights)
    output = _by_group(weights.to(values.dtype), values)
    if bias is None and visible is None:
        return output, lse
    # Hidden scores are finite, so that no gradient is NaN; where all are, their sum says so.
    blind = lse < 0.5 * MISSING_SCORE
    return output.masked_fill(blind[..., None], 0.0), lse.masked_fill(blind, -torch.inf)


def _by_group(left: Tensor, right: Tensor) -> Tensor:
    """Products of all query heads with what their key head shares."""
    heads = right.shape[1]
    if left.shape[1] == heads:
        return left @ right
    return (left.unflatten(1, (heads, -1)) @ right[:, :, None]).flatten(1, 2)
