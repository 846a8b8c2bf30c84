"""The way into a model: an attention function and a mask function, registered with transformers under names of ours.

transformers looks both up by ``config._attn_implementation``. Attention modules that hold a listener, under LISTENER,
are asked through it; all others, and every other model, go to the implementation that was there.
"""

import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

LISTENER = "_memstack_listener"
BASES = ("sdpa", "eager")
"""Implementations whose masks say of every query and key whether they meet."""


class Listener(Protocol):
    """What an attention module hands its queries, keys and values to, after rotation and cache."""

    base: str

    def attend(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        kwargs: Mapping[str, Any],
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output, (rows, n, heads, dim), and the weights if there are any."""
        ...


def name_of(base: str) -> str:
    """The name under which models are served whose own implementation is ``base``; registered before it is returned."""
    name = f"memstack_{base}"
    AttentionInterface.register(name, _attention)
    # Without this transformers makes no mask at all, neither causal nor for padding, and says nothing.
    AttentionMaskInterface.register(name, _mask(ALL_MASK_ATTENTION_FUNCTIONS[base]))
    return name


def _mask(own: Callable[..., Any]) -> Callable[..., Any]:
    """A mask function by which the newest tokens are the last columns.

    Versions of transformers place them by how many tokens a cache was given, of which a window has let some go.
    """

    @wraps(own)
    def mask(**given: Any) -> Any:
        last = given["kv_offset"] + given["kv_length"]
        if "cache_position" in given:
            places = given["cache_position"]
            given["cache_position"] = torch.arange(last - len(places), last, device=places.device, dtype=places.dtype)
        else:
            given["q_offset"] = last - given["q_length"]
        return own(**given)

    return mask


def plain(
    base: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    kwargs: Mapping[str, Any],
) -> tuple[Tensor, Tensor | None]:
    """What the model's own implementation makes of it."""
    own: Any = sys.modules[type(module).__module__]
    attention = own.eager_attention_forward if base == "eager" else ALL_ATTENTION_FUNCTIONS[base]
    return attention(module, query, key, value, mask, **kwargs)


class PlainListener:
    """Attends as the model's own implementation does."""

    def __init__(self, base: str) -> None:
        self.base = base

    def attend(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        kwargs: Mapping[str, Any],
    ) -> tuple[Tensor, Tensor | None]:
        """Return what it returns."""
        return plain(self.base, module, query, key, value, mask, kwargs)


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    listener: Listener | None = module.__dict__.get(LISTENER)
    if listener is None:
        base = str(getattr(module, "config")._attn_implementation).removeprefix("memstack_")  # noqa: B009 - any module
        return plain(base, module, query, key, value, attention_mask, kwargs)
    return listener.attend(module, query, key, value, attention_mask, kwargs)
