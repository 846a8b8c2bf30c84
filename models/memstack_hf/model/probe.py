"""probe(): what a model does with positions, layer by layer, found out by trying and not by its name.

One token is read sixteen times. Every position then has the same hidden state in every layer, so its keys are equal as
they are (a layer without positions), or once each is turned back by its position (a rotary one), or neither.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from memstack.contract.errors import MemstackError, in_one_line
from memstack_hf.model.interface import BASES, LISTENER, PlainListener, name_of
from memstack_hf.model.rotation import Rotation, rotations

TOKENS = 16
ROUNDING = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2, torch.float64: 1e-6}
"""What keys that should be equal may differ by, of their size."""
Kind = Literal["rotary", "free", "absolute"]


class AttachError(MemstackError):
    """A model that a long-term memory cannot join, and why."""


@dataclass(frozen=True)
class LayerFacts:
    """What one layer's attention does."""

    kind: Kind
    """How its keys know their position: rotated, not at all, or in a way that cannot be undone."""
    rotation: Rotation | None
    kv_heads: int
    dim: int
    sliding: int | None
    """How many tokens it sees, if not all."""
    device: torch.device


@dataclass
class _Call:
    query: Tensor
    key: Tensor
    value: Tensor
    kwargs: dict[str, Any]


class Watcher(PlainListener):
    """A listener that notes what attention is called with."""

    def __init__(self, base: str) -> None:
        super().__init__(base)
        self.calls: dict[int, _Call] = {}

    def attend(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        kwargs: Mapping[str, Any],
    ) -> tuple[Tensor, Tensor | None]:
        self.calls[int(getattr(module, "layer_idx"))] = _Call(query, key, value, dict(kwargs))  # noqa: B009
        return super().attend(module, query, key, value, mask, kwargs)


def attention_modules(model: nn.Module) -> dict[int, nn.Module]:
    """The modules that attend, by layer."""
    found: dict[int, nn.Module] = {}
    for module in model.modules():
        index = getattr(module, "layer_idx", None)
        if isinstance(index, int) and "Attention" in type(module).__name__ and not list(_inner(module)):
            found[index] = module
    return dict(sorted(found.items()))


def _inner(module: nn.Module) -> list[nn.Module]:
    """Attention modules inside of this one, which then only holds them."""
    return [
        each
        for each in module.modules()
        if each is not module and "Attention" in type(each).__name__ and hasattr(each, "layer_idx")
    ]


def check_model(model: Any) -> None:
    """Raise AttachError for what is no causal language model of transformers, or was loaded in a way we cannot join."""
    config = getattr(model, "config", None)
    name = type(model).__name__
    if config is None or not hasattr(model, "set_attn_implementation"):
        raise AttachError(f"a memory is attached to a model of transformers, got a {name}")
    if getattr(config, "is_encoder_decoder", False):
        raise AttachError(f"{name} is an encoder-decoder; a memory joins the causal attention of a decoder-only model")
    if not hasattr(model, "lm_head") and getattr(model, "get_output_embeddings", lambda: None)() is None:
        raise AttachError(
            f"{name} predicts no tokens: attach to a causal language model, such as AutoModelForCausalLM's"
        )
    base = str(config._attn_implementation)
    if base.startswith("memstack_"):
        raise AttachError(f"this {name} has a memory already: detach() that first")
    if base not in BASES:
        raise AttachError(
            f"{name} was loaded with attn_implementation={base!r}, whose masks a memory cannot read; "
            "load it with attn_implementation='sdpa'"
        )


def probe(model: Any) -> dict[int, LayerFacts]:
    """Find out what each layer does; AttachError says why a memory cannot join the model."""
    base, name = str(model.config._attn_implementation), type(model).__name__
    modules, watcher = attention_modules(model), Watcher(base)
    text = model.config.get_text_config()
    embeddings: dict[int, bool] = {}
    hooks = [
        module.register_forward_pre_hook(_note(embeddings, index), with_kwargs=True)
        for index, module in modules.items()
    ]
    training = model.training
    try:
        model.set_attn_implementation(name_of(base))
        for module in modules.values():
            module.__dict__[LISTENER] = watcher
        model.eval()
        token = min(11, int(text.vocab_size) - 1)
        with torch.no_grad():
            model(torch.full((1, TOKENS), token, dtype=torch.int64, device=model.device), use_cache=False)
    except RuntimeError as error:
        raise AttachError(
            f"{name} cannot read {TOKENS} tokens to find out what it does: {in_one_line(error)}"
        ) from error
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
        for module in modules.values():
            module.__dict__.pop(LISTENER, None)
        model.set_attn_implementation(base)
    _check_calls(name, text, watcher.calls)
    types = getattr(text, "layer_types", None) or [None] * text.num_hidden_layers
    return {
        index: _facts(model, modules[index], call, types[index], embeddings.get(index, False))
        for index, call in sorted(watcher.calls.items())
    }


def _note(embeddings: dict[int, bool], index: int) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        embeddings[index] = kwargs.get("position_embeddings") is not None

    return hook


def _check_calls(name: str, text: Any, calls: Mapping[int, _Call]) -> None:
    missing = [index for index in range(text.num_hidden_layers) if index not in calls]
    if missing:
        shown = "any layer" if len(missing) == text.num_hidden_layers else f"layers {_some(missing)}"
        raise AttachError(
            f"{name} does not attend through transformers' attention interface in {shown} "
            "(it has an attention of its own, such as one with ALiBi, or layers that are no attention): "
            "a memory cannot join it"
        )
    for index, call in calls.items():
        if call.kwargs.get("s_aux") is not None:
            raise AttachError(f"{name} has a learned sink logit per head in layer {index}, which a memory would change")
        if call.kwargs.get("position_bias") is not None:
            raise AttachError(f"{name} adds a bias by position to its scores in layer {index}; a memory has none")
        if call.key.shape != call.value.shape or getattr(text, "kv_lora_rank", None):
            raise AttachError(
                f"{name} compresses its keys (latent attention: keys {tuple(call.key.shape[1:])}, values "
                f"{tuple(call.value.shape[1:])} in layer {index}), so that a key is no token's own"
            )
    if getattr(text, "attention_chunk_size", None) and "chunked_attention" in (
        getattr(text, "layer_types", None) or ()
    ):
        raise AttachError(
            f"{name} attends in chunks that are counted from the beginning of a text, which a memory moves"
        )
    if getattr(text, "kv_sharing_modes", None) or getattr(text, "num_kv_shared_layers", 0):
        raise AttachError(f"{name} has layers that share the keys of others, which a memory does not know")


def _facts(model: nn.Module, module: nn.Module, call: _Call, layer_type: str | None, rotated: bool) -> LayerFacts:
    kind, rotation = _kind(model, module, call.key, layer_type, rotated)
    sliding = call.kwargs.get("sliding_window")
    return LayerFacts(
        kind=kind,
        rotation=rotation,
        kv_heads=call.key.shape[1],
        dim=call.key.shape[3],
        sliding=int(sliding) if sliding is not None else None,
        device=call.key.device,
    )


def _kind(
    model: nn.Module, module: nn.Module, keys: Tensor, layer_type: str | None, rotated: bool
) -> tuple[Kind, Rotation | None]:
    back = -torch.arange(TOKENS, dtype=torch.int64, device=keys.device)[None]
    found: list[tuple[float, Kind, Rotation | None]] = [(_spread(keys), "free", None)]
    for rotation in rotations(model, module, layer_type) if rotated else ():
        try:
            turned = rotation.turned(keys, back)
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError, KeyError):
            continue  # another family's angles: the next candidate, or a position that cannot be undone
        if turned.shape == keys.shape:
            found.append((_spread(turned), "rotary", rotation))
    # The best of them, not the first that is good enough: where few dimensions turn fast, half precision hides much.
    spread, kind, rotation = min(found, key=lambda each: each[0])
    return (kind, rotation) if spread < ROUNDING[keys.dtype] else ("absolute", None)


def _spread(keys: Tensor) -> float:
    """How much the keys of equal tokens differ from one position to another, of how large they are."""
    wide = keys.float()
    return float((wide - wide[:, :, :1]).abs().max() / wide.abs().max().clamp(min=1e-30))


def native_context(text: Any) -> int | None:
    """How many positions a model was trained with, before what stretches its angles by a text's length."""
    rope = getattr(text, "rope_parameters", None) or {}
    if rope.get("rope_type") in ("longrope", "dynamic") and rope.get("original_max_position_embeddings"):
        return int(rope["original_max_position_embeddings"])
    most = getattr(text, "max_position_embeddings", None)
    return int(most) if most else None


def _some(layers: list[int]) -> str:
    return ", ".join(map(str, layers[:8])) + (", ..." if len(layers) > 8 else "")


def cache_argument(model: Any) -> str:
    """What this version of transformers calls the argument that takes a cache; it ignores any other name."""
    return "cache" if "cache" in names_of(model.forward) else "past_key_values"


def names_of(forward: Any) -> list[str]:
    """The names of a forward's arguments, in order."""
    return [name for name in inspect.signature(forward).parameters if name != "self"]
