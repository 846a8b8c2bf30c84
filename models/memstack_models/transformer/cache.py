"""The Transformer-XL cache: what each layer's local attention still sees of the segments before."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memstack_models.transformer.config import ModelConfig


@dataclass(frozen=True)
class LayerKV:
    """What one layer made of one segment; nothing in it carries a gradient."""

    keys: Float[Tensor, "rows kv_heads n head_dim"]
    """Normalised, before the scale: just what local attention used."""
    values: Float[Tensor, "rows kv_heads n head_dim"]
    last_key: Float[Tensor, "rows kv_heads 1 head_dim"]
    """The last token's key before smearing, which the next segment's first key is mixed with."""


class Cache:
    """The last ``cache`` keys and values of every layer, and the last unsmeared key. Not differentiable.

    Written by the training step after backward, like the memory; a row is cleared when it starts a new document.
    """

    def __init__(self, config: ModelConfig, rows: int, device: torch.device | str = "cpu") -> None:
        def empty(length: int) -> Tensor:
            return torch.zeros(rows, config.kv_heads, length, config.head_dim, device=device, dtype=torch.float32)

        self.length = config.cache
        self.layers = [LayerKV(empty(self.length), empty(self.length), empty(1)) for _ in range(config.layers)]
        self.filled = torch.zeros(rows, dtype=torch.int64, device=device)
        """How many of a row's cached tokens belong to its document; they are the rightmost ones."""

    def add(self, new: tuple[LayerKV, ...]) -> None:
        """Take in a segment; the oldest tokens leave."""
        # Of one layout and dtype at every step, as a compiled model is compiled for these.
        keep = self.length
        self.layers = [
            LayerKV(
                _last(old.keys, layer.keys, keep),
                _last(old.values, layer.values, keep),
                layer.last_key.to(old.last_key).contiguous(),
            )
            for old, layer in zip(self.layers, new, strict=True)
        ]
        self.filled = (self.filled + new[0].keys.shape[2]).clamp(max=keep)

    def reset(self, rows: Bool[Tensor, " rows"]) -> None:
        """Clear the rows that are True."""
        rows = rows.to(self.filled.device)
        self.filled = self.filled.masked_fill(rows, 0)
        # What is cached is masked by its count; only the last key is read without one.
        self.layers = [
            LayerKV(layer.keys, layer.values, layer.last_key.masked_fill(rows[:, None, None, None], 0.0))
            for layer in self.layers
        ]

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything cached as named tensors."""
        state = {"filled": self.filled}
        for i, layer in enumerate(self.layers):
            state |= {f"{i}.keys": layer.keys, f"{i}.values": layer.values, f"{i}.last_key": layer.last_key}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace everything cached."""
        device = self.filled.device
        self.filled = state["filled"].to(device)
        self.layers = [
            LayerKV(*(state[f"{i}.{part}"].to(device) for part in ("keys", "values", "last_key")))
            for i in range(len(self.layers))
        ]


def _last(old: Tensor, new: Tensor, keep: int) -> Tensor:
    return (torch.cat([old, new], dim=2)[:, :, -keep:] if keep else new[:, :, :0]).contiguous()
