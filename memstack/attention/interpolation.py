"""How two attentions over different entries become one."""

import torch
from jaxtyping import Float
from torch import Tensor

from memstack.contract.errors import ShapeError


def weight_of(
    lse: Float[Tensor, "rows heads q"], other: Float[Tensor, "rows heads q"]
) -> Float[Tensor, "rows heads q"]:
    """Return the share of the first of two attentions in one softmax over the scores of both, by their log-sum-exp."""
    return (lse - other).sigmoid()


def log_sum_exp(
    scores: Float[Tensor, "rows heads q n"], weights: Float[Tensor, "rows heads q n"]
) -> Float[Tensor, "rows heads q"]:
    """Return the log-sum-exp of scores whose softmax is at hand: the highest score less the log of its weight.

    torch's own takes the exponential of every score again, which is slow where hidden ones are far below the others.
    """
    return _LogSumExp.apply(scores, weights) if scores.numel() else scores.logsumexp(-1)  # type: ignore[no-any-return]


class _LogSumExp(torch.autograd.Function):
    """Its gradient in the scores is their softmax; the latter has none of its own."""

    generate_vmap_rule = True

    @staticmethod
    def forward(scores, weights):  # type: ignore[no-untyped-def]
        return scores.amax(-1) - weights.amax(-1).log()

    @staticmethod
    def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx, *grads):  # type: ignore[no-untyped-def]
        (weights,) = ctx.saved_tensors
        return grads[0][..., None] * weights, None


def interpolated(
    output: Float[Tensor, "rows heads q dim"],
    other: Float[Tensor, "rows heads q dim"],
    weight: Float[Tensor, "rows heads q"],
) -> Float[Tensor, "rows heads q dim"]:
    """Return ``output`` moved towards ``other`` by that weight, computed in the widest dtype of the three."""
    wide = torch.promote_types(torch.promote_types(output.dtype, other.dtype), weight.dtype)
    return torch.lerp(output.to(wide), other.to(wide), weight.to(wide)[..., None])


def per_head(name: str, parameter: Tensor | float, heads: int) -> Tensor | float:
    """Return a number as it is, and one per query head as (query_heads, 1, 1); ShapeError if it is neither."""
    if not isinstance(parameter, Tensor) or parameter.ndim == 0:
        return parameter
    if tuple(parameter.shape) != (heads,):
        raise ShapeError(f"{name} should be a number or one per query head, ({heads},), got {tuple(parameter.shape)}")
    return parameter[:, None, None]


def capped(scores: Tensor, softcap: float | None) -> Tensor:
    """Return scores as they are, or bent so that none is beyond ``softcap``."""
    return scores if softcap is None else softcap * (scores / softcap).tanh()


def check_softcap(softcap: float | None) -> None:
    """Raise ShapeError unless this caps scores."""
    if softcap is not None and not 0 < softcap < float("inf"):
        raise ShapeError(f"softcap should be above 0, or None for scores as they are, got {softcap}")
