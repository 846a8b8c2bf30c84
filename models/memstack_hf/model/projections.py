"""projections(): which modules make a layer's queries and keys, found out by their gradients and not by their names."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from memstack_hf.model.interface import LISTENER
from memstack_hf.model.probe import Watcher, attention_modules


@torch.enable_grad()
def projections(model: Any, layers: Iterable[int], base: str) -> list[str]:
    """Return the full names of what peft should adapt so that these layers look up otherwise: its ``target_modules``.

    A projection that makes values as well, as one for all three does, is among them.
    """
    modules, watcher = attention_modules(model), Watcher(base)
    names = {id(module): name for name, module in model.named_modules()}
    made: dict[int, dict[str, Tensor]] = {layer: {} for layer in layers}
    hooks = [
        inner.register_forward_hook(_note(made[layer], f"{names[id(modules[layer])]}.{name}"))
        for layer in made
        for name, inner in _matrices(modules[layer])
    ]
    listeners = {layer: module.__dict__.get(LISTENER) for layer, module in modules.items()}
    try:
        for module in modules.values():
            module.__dict__[LISTENER] = watcher
        model(torch.full((1, 4), 1, dtype=torch.int64, device=model.device), use_cache=False)
        return [name for layer, outputs in made.items() for name in _looked_up_by(watcher, layer, outputs)]
    finally:
        for hook in hooks:
            hook.remove()
        for layer, listener in listeners.items():
            modules[layer].__dict__.pop(LISTENER, None)
            if listener is not None:
                modules[layer].__dict__[LISTENER] = listener


def _matrices(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Those of its parts that multiply by a matrix."""
    return [
        (name, inner)
        for name, inner in module.named_modules()
        if isinstance(weight := getattr(inner, "weight", None), Tensor) and weight.ndim == 2
    ]


def _note(made: dict[str, Tensor], name: str) -> Any:
    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        made[name] = output.detach().requires_grad_()
        return made[name].clone()  # which some families clip in place

    return hook


def _looked_up_by(watcher: Watcher, layer: int, outputs: dict[str, Tensor]) -> list[str]:
    call = watcher.calls[layer]
    total = call.query.float().sum() + call.key.float().sum()
    gradients = torch.autograd.grad(total, [*outputs.values()], allow_unused=True, retain_graph=True)
    used: list[Tensor | None] = [*gradients]
    return [name for name, gradient in zip(outputs, used, strict=True) if gradient is not None]
