"""Rotation: what moves a layer's keys and queries from one position to another, by the family's own function."""

import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Turn = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class Rotation:
    """Turns keys or queries by so many positions (RoPE, arXiv 2104.09864: a rotation is relative)."""

    def __init__(self, angles: nn.Module, turn: Turn, more: dict[str, Any]) -> None:
        self._angles, self._turn, self._more = angles, turn, more

    @torch.no_grad()
    def _cos_sin(self, offsets: Tensor) -> tuple[Tensor, Tensor]:
        # Angles in float32, whatever the model computes in. A factor that some families put into both is taken out.
        like = torch.zeros(1, dtype=torch.float32, device=offsets.device)
        cos, sin = self._angles(like, offsets, **self._more)
        norm = (cos.square() + sin.square()).sqrt()
        return cos / norm, sin / norm

    def turned(
        self, x: Float[Tensor, "rows heads n dim"], offsets: Int[Tensor, "rows n"]
    ) -> Float[Tensor, "rows heads n dim"]:
        """Return x as it would be so many positions later, or earlier; in float32."""
        cos, sin = self._cos_sin(offsets)
        size = cos.shape[-1]
        wide = x.float()
        turned, _ = self._turn(wide[..., :size], wide[..., :size], cos, sin)
        return torch.cat([turned, wide[..., size:]], -1) if size < x.shape[-1] else turned


def rotations(model: nn.Module, module: nn.Module, layer_type: str | None) -> Iterator[Rotation]:
    """Everything that might be how an attention module rotates; which of it does is found out by trying."""
    turn = getattr(sys.modules[type(module).__module__], "apply_rotary_pos_emb", None)
    if turn is None:
        return
    for angles in model.modules():
        if type(angles).__name__.endswith("RotaryEmbedding"):
            named = "layer_type" in inspect.signature(angles.forward).parameters
            yield Rotation(angles, turn, {"layer_type": layer_type} if named else {})
