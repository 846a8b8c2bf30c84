"""Local attention and its log-sum-exp by torch's own kernels, with gradients that are right through both.

torch's flash kernels return the log-sum-exp, but their backward takes no gradient for it. With g that gradient, one
term is missing: that of the scores is P * (dP - delta + g), where delta = sum(out * grad_out). So every head gets one
more column, of zeros in queries, keys and values, of -g in ``out`` and of ones in ``grad_out``: delta becomes
delta - g, nothing else changes, and the kernel as it is returns the gradients of both.
"""

from collections.abc import Callable
from functools import cache
from typing import Any
from warnings import warn

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from memstack.contract.precision import at_least_float32, without_autocast

Forward = Callable[[Tensor, Tensor, Tensor, float, bool], tuple[Tensor, Tensor]]
Backward = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, float, bool], tuple[Tensor, Tensor, Tensor]]
SCORES = 1 << 22  # held at once where there is no kernel: 16 MB, however long the text


def flash(
    queries: Float[Tensor, "rows heads q dim"],
    keys: Float[Tensor, "rows heads n dim"],
    values: Float[Tensor, "rows heads n dim"],
    scale: float,
    causal: bool,
) -> tuple[Float[Tensor, "rows heads q dim"], Float[Tensor, "rows heads q"]]:
    """Attend without ever holding all scores: output in the values' dtype, log-sum-exp in at least float32.

    ``causal`` wants as many keys as queries. A kernel of torch's where there is one that proved right on this device,
    blocks of plain math elsewhere. Differentiable once.
    """
    return _flash(queries, keys, values, scale, causal)


# The operators ------------------------------------------------------------------------------------------------------


@torch.library.custom_op("memstack::flash", mutates_args=())
def _flash(queries: Tensor, keys: Tensor, values: Tensor, scale: float, causal: bool) -> tuple[Tensor, Tensor]:
    forward, _ = kernels(queries)
    with without_autocast(queries):
        output, lse = forward(_dense(queries), _dense(keys), _dense(values), scale, causal)
    return output.contiguous(), lse.contiguous()


@torch.library.custom_op("memstack::flash_backward", mutates_args=())
def _flash_backward(
    grad: Tensor,
    grad_lse: Tensor | None,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    output: Tensor,
    lse: Tensor,
    scale: float,
    causal: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    _, backward = kernels(queries)
    dim, tensors = queries.shape[-1], (grad, queries, keys, values, output)
    if grad_lse is not None:
        tensors = _with_column(*tensors, grad_lse)
    grad, queries, keys, values, output = (_dense(tensor) for tensor in tensors)
    with without_autocast(queries):
        grads = backward(grad, queries, keys, values, output, lse, scale, causal)
    of_queries, of_keys, of_values = (each[..., :dim].contiguous() for each in grads)
    return of_queries, of_keys, of_values


@_flash.register_fake
def _(queries: Tensor, keys: Tensor, values: Tensor, scale: float, causal: bool) -> tuple[Tensor, Tensor]:
    size = queries.shape[:3]
    return values.new_empty((*size, values.shape[3])), queries.new_empty(size, dtype=at_least_float32(queries))


@_flash_backward.register_fake
def _(
    grad: Tensor, grad_lse: Tensor | None, queries: Tensor, keys: Tensor, values: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return queries.new_empty(queries.shape), keys.new_empty(keys.shape), values.new_empty(values.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.scale, ctx.causal = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, *output)


def _backward(ctx: Any, grad: Tensor | None, grad_lse: Tensor | None) -> tuple[Tensor | None, ...]:
    *tensors, output, lse = ctx.saved_tensors
    grad = torch.zeros_like(output) if grad is None else grad
    return *_flash_backward(grad, grad_lse, *tensors, output, lse, ctx.scale, ctx.causal), None, None


_flash.register_autograd(_backward, setup_context=_save)


def _dense(tensor: Tensor) -> Tensor:
    """The tensor as kernels take it: of any layout, but with a vector's numbers side by side."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _with_column(
    grad: Tensor, queries: Tensor, keys: Tensor, values: Tensor, output: Tensor, grad_lse: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The column that carries the log-sum-exp's gradient, and zeros up to a width that every kernel takes."""
    wider = 8 - queries.shape[-1] % 8
    columns = [pad(each, (0, wider)) for each in (grad, queries, keys, values, output)]
    columns[0][..., -1], columns[4][..., -1] = 1, -grad_lse
    return columns[0], columns[1], columns[2], columns[3], columns[4]


# What does it -------------------------------------------------------------------------------------------------------


def kernels(queries: Tensor) -> tuple[Forward, Backward]:
    """What attends to these queries, and its gradient: torch's if it is right here, plain math in blocks if not."""
    fits = queries.shape[-1] <= 248 and queries.numel() > 0
    kernel = KERNELS.get((queries.device.type, queries.dtype)) if fits else None
    return kernel if kernel and proved(queries.device, queries.dtype) else (in_blocks, in_blocks_backward)


@cache
def proved(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether, on a small example, the kernel and its gradients are what plain math gives; warns if not.

    A kernel is torch's private matter and no test can run every device's.
    """
    example = torch.randn(
        5, 1, 2, 19, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu"
    ).to(device, dtype)
    tolerance = 1e-4 if dtype.itemsize > 2 else 0.03
    try:
        for causal in (True, False):
            found = _both(*KERNELS[device.type, dtype], example, causal)
            expected = _both(in_blocks, in_blocks_backward, example.to(at_least_float32(example)), causal)
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one.to(other), other, rtol=tolerance, atol=tolerance)
    except Exception as error:  # noqa: BLE001 - whatever a kernel or a driver raises, plain math remains
        reason = (str(error).splitlines() or [""])[0]
        warn(f"torch's attention kernel fails on {device}, plain math is used: {reason}", stacklevel=2)
        return False
    return True


def _both(forward: Forward, backward: Backward, example: Tensor, causal: bool) -> tuple[Tensor, ...]:
    """What a kernel makes of an example: both outputs, and the gradients through both."""
    queries, keys, values, grad, other = example
    output, lse = forward(queries, keys, values, 0.3, causal)
    grad, queries, keys, values, wider = _with_column(grad, queries, keys, values, output, other[..., 0])
    return output, lse, *backward(grad, queries, keys, values, wider, lse, 0.3, causal)


def in_blocks(queries: Tensor, keys: Tensor, values: Tensor, scale: float, causal: bool) -> tuple[Tensor, Tensor]:
    """Attend by plain math, some queries at a time."""
    outputs, sums = [], []
    for start, block in _blocks(queries, keys):
        scores = _scores(block, keys, scale, start if causal else None)
        sums.append(scores.logsumexp(-1))
        outputs.append(scores.softmax(-1) @ values.to(scores))
    return torch.cat(outputs, 2).to(values.dtype), torch.cat(sums, 2)


def in_blocks_backward(
    grad: Tensor, queries: Tensor, keys: Tensor, values: Tensor, output: Tensor, lse: Tensor, scale: float, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of ``in_blocks``, from the scores computed again."""
    wide = lse.dtype
    grad, keys_, values_ = grad.to(wide), keys.to(wide), values.to(wide)
    of_queries, of_keys, of_values = [], torch.zeros_like(keys_), torch.zeros_like(values_)
    delta = (output.to(wide) * grad).sum(-1, keepdim=True)
    for start, block in _blocks(queries, keys):
        here = slice(start, start + block.shape[2])
        weights = (_scores(block, keys, scale, start if causal else None) - lse[:, :, here, None]).exp()
        of_scores = weights * (grad[:, :, here] @ values_.mT - delta[:, :, here]) * scale
        of_queries.append(of_scores @ keys_)
        of_keys += of_scores.mT @ block.to(wide)
        of_values += weights.mT @ grad[:, :, here]
    return torch.cat(of_queries, 2).to(queries), of_keys.to(keys), of_values.to(values)


def _scores(queries: Tensor, keys: Tensor, scale: float, start: int | None) -> Tensor:
    """Scaled scores; ``start`` is the first query's place among the keys where it must not see later ones."""
    wide = at_least_float32(queries)
    scores = queries.to(wide) @ keys.to(wide).mT * scale
    if start is None:
        return scores
    places = torch.arange(keys.shape[2], device=keys.device, dtype=torch.int64)
    own = torch.arange(start, start + queries.shape[2], device=keys.device, dtype=torch.int64)[:, None]
    return scores.masked_fill(places > own, -torch.inf)


def _blocks(queries: Tensor, keys: Tensor) -> list[tuple[int, Tensor]]:
    size = max(1, SCORES // max(1, keys.shape[0] * keys.shape[1] * keys.shape[2]))
    return list(zip(range(0, max(1, queries.shape[2]), size), queries.split(size, 2), strict=True))


def _cpu(queries: Tensor, keys: Tensor, values: Tensor, scale: float, causal: bool) -> tuple[Tensor, Tensor]:
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(queries, keys, values, 0.0, causal, scale=scale)


def _cpu_backward(
    grad: Tensor, queries: Tensor, keys: Tensor, values: Tensor, output: Tensor, lse: Tensor, scale: float, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    # It reads the sums as it writes them: the heads of a token side by side.
    sums = lse.transpose(1, 2).contiguous().transpose(1, 2)
    return kernel(grad, queries, keys, values, output, sums, 0.0, causal, scale=scale)


def _cuda(queries: Tensor, keys: Tensor, values: Tensor, scale: float, causal: bool) -> tuple[Tensor, Tensor]:
    kernel, dim = torch.ops.aten._scaled_dot_product_flash_attention, queries.shape[-1]
    queries, keys, values = (pad(each, (0, -dim % 8)) for each in (queries, keys, values))
    output, lse, *_ = kernel(queries, keys, values, 0.0, causal, False, scale=scale)
    return output[..., :dim], lse[:, :, : queries.shape[2]]


def _cuda_backward(
    grad: Tensor, queries: Tensor, keys: Tensor, values: Tensor, output: Tensor, lse: Tensor, scale: float, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_backward
    seed = torch.empty(2, dtype=torch.uint64, device=queries.device)  # of a dropout that there is not
    sizes = (None, None, queries.shape[2], keys.shape[2])
    padded = (pad(each, (0, -queries.shape[-1] % 8)) for each in (grad, queries, keys, values, output))
    return kernel(*padded, lse, *sizes, 0.0, causal, seed, seed[:0], scale=scale)


HALF = (torch.float16, torch.bfloat16)
KERNELS: dict[tuple[str, torch.dtype], tuple[Forward, Backward]] = {
    **{("cpu", dtype): (_cpu, _cpu_backward) for dtype in (torch.float32, torch.float64, *HALF)},
    **{("cuda", dtype): (_cuda, _cuda_backward) for dtype in HALF},
}
"""torch's kernels that return the log-sum-exp, by device and dtype."""
