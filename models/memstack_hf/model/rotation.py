"""Rotation: what moves a layer's keys and queries from one position to another, by the family's own function."""

import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

KEPT = 3
"""Offsets whose angles are kept: of what was in sight, of what is new, and of what is remembered."""

Turn = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class Rotation:
    """Turns keys or queries by so many positions (RoPE, arXiv 2104.09864: a rotation is relative)."""

    def __init__(self, angles: nn.Module, turn: Turn, more: dict[str, Any]) -> None:
        self._angles, self._turn, self._more = angles, turn, more
        self._latest: list[tuple[Tensor, torch.device, tuple[Tensor, Tensor]]] = []
        """The latest offsets, by the tensors that they came in: all layers of a forward turn by the same ones."""

    def _cos_sin(self, offsets: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        for known, where, angles in self._latest:
            if known is offsets and where == device:
                return angles
        angles = self._computed(offsets.to(device))
        self._latest = [*self._latest[1 - KEPT :], (offsets, device, angles)]
        return angles

    @torch.no_grad()
    def _computed(self, offsets: Tensor) -> tuple[Tensor, Tensor]:
        # Angles in float32, whatever the model computes in. A factor that some families put into both is taken out.
        like = torch.zeros(1, dtype=torch.float32, device=offsets.device)
        cos, sin = self._angles(like, offsets, **self._more)
        norm = (cos.square() + sin.square()).sqrt()
        return cos / norm, sin / norm

    def turned(
        self, x: Float[Tensor, "rows heads n dim"], offsets: Int[Tensor, "rows n"]
    ) -> Float[Tensor, "rows heads n dim"]:
        """Return x as it would be so many positions later, or earlier; in float32. Offsets are not to be written to."""
        cos, sin = self._cos_sin(offsets, x.device)
        size = cos.shape[-1]
        wide = x.float()
        turned, _ = self._turn(wide[..., :size], wide[:, :0, :, :size], cos, sin)  # it turns queries and keys at once
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
