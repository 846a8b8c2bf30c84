"""JoinedAttention: one softmax over what a layer has in sight and what its memory found; what attention modules ask."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from memstack.attention import attend, local_attention
from memstack.bank import MemoryBank
from memstack_hf.config import LongMemoryConfig
from memstack_hf.memory.window import WindowCache
from memstack_hf.model.interface import PlainListener, plain
from memstack_hf.model.plan import Plan


@dataclass(frozen=True)
class Places:
    """Where tokens stand in rows whose keys and queries come unrotated; 0 in the others."""

    before: Int[Tensor, "rows columns"]
    """What is in sight."""
    new: Int[Tensor, "rows n"]
    away: Int[Tensor, "rows n"]
    """The new ones, as they look at what is remembered."""


@dataclass(frozen=True)
class Step:
    """What attention should know of the forward at hand."""

    uncached: bool = False
    """Nothing is kept in sight: all of the segment is written once it is read."""
    masked: bool = False
    """Rows have padding."""
    places: Places | None = None
    """None if there are no such rows."""
    remembering: frozenset[int] = field(default_factory=frozenset[int])
    """Layers in which anything is remembered."""


class Terms(nn.Module):
    """What is learned of a memory, per layer and query head: scale, bias and, if asked for, an age term."""

    def __init__(self, layers: int, heads: int, config: LongMemoryConfig, device: torch.device) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros((layers, heads), device=device, dtype=torch.float32))
        self.bias = nn.Parameter(torch.full_like(self.log_scale, config.bias))
        self.age = None if config.age is None else nn.Parameter(torch.full_like(self.log_scale, config.age))


class JoinedAttention:
    """Serves every attention module of a model; layers without a memory, or with an empty one, attend as before."""

    def __init__(self, plan: Plan, cache: WindowCache, terms: Terms, base: str) -> None:
        self.base, self.bank, self.step, self.paused = base, MemoryBank(), Step(), False
        self.plan, self._cache, self._terms = plan, cache, terms

    def __deepcopy__(self, memo: object) -> PlainListener:
        """A copy of the model attends as the model did before."""
        return PlainListener(self.base)

    def attend(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        kwargs: Mapping[str, Any],
    ) -> tuple[Tensor, Tensor | None]:
        """Return the layer's output, (rows, n, heads, dim); the weights only where nothing was retrieved."""
        layer, step = int(getattr(module, "layer_idx")), self.step  # noqa: B009 - any module
        if step.uncached:
            self._cache.each[layer].new = key.detach(), value.detach()
        searching = not self.paused and layer in step.remembering
        asked = query
        if step.places is not None and self.plan.facts[layer].rotation is not None:
            asked = self.plan.turned(layer, query, step.places.away) if searching else query
            query, key = self._placed(layer, query, key, step.places)
        if not searching:
            return plain(self.base, module, query, key, value, mask, kwargs)
        scale, softcap = kwargs.get("scaling") or query.shape[-1] ** -0.5, kwargs.get("softcap")
        if not step.masked and self.plan.facts[layer].sliding is None:
            mask = None
        local = local_attention(query, key, value, scale=scale, softcap=softcap, **_seen_by(mask))
        terms, index = self._terms, self.plan.layers.index(layer)
        output, _ = attend(
            self.bank[layer],
            asked.float(),
            *local,
            neighbours=self.plan.config.neighbours,
            scale=terms.log_scale[index].to(query.device).exp() * scale,
            bias=terms.bias[index].to(query.device),
            age=None if terms.age is None else terms.age[index].to(query.device),
            softcap=softcap,
        )
        return output.transpose(1, 2).contiguous(), None

    def _placed(self, layer: int, query: Tensor, key: Tensor, places: Places) -> tuple[Tensor, Tensor]:
        """Queries and keys that came unrotated, where they stand; what is kept in sight is turned once."""
        kept, old, new = self._cache.each[layer], places.before, places.new
        before, at_hand = key.split([old.shape[1], new.shape[1]], 2)
        if kept.placed is None or kept.placed.shape[2] != old.shape[1]:
            kept.placed = self.plan.turned(layer, before, old).to(key.dtype)
        placed = self.plan.turned(layer, at_hand, new).to(key.dtype)
        kept.new_placed = placed.detach()
        return self.plan.turned(layer, query, new).to(query.dtype), torch.cat([kept.placed, placed], 2)


def _seen_by(mask: Tensor | None) -> dict[str, Any]:
    """What of a segment and its window each query sees, as ``local_attention`` takes it."""
    if mask is None:
        return {"causal": True}
    return {"causal": False, "mask" if mask.dtype == torch.bool else "bias": mask}
