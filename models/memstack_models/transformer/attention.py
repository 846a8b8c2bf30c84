"""Attention over the local context and over what the memory found (arXiv 2203.08913, section 3).

Legend: B rows, H query heads, G key/value heads, R = H / G, T tokens, S = cache + T, K neighbours, D head size,
C width.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from memstack import MISSING_SCORE, Memory, SearchResult, search
from memstack_models.transformer.cache import LayerKV
from memstack_models.transformer.config import ModelConfig


@dataclass(frozen=True)
class LocalContext:
    """What every layer's local attention shares: who may see whom, and how far apart they are."""

    visible: Bool[Tensor, "B 1 T S"]
    sees: Bool[Tensor, "B 1 T 1"]
    """False where a token sees nothing, not even itself."""
    bucket: Int[Tensor, "T S"]


class Attention(nn.Module):
    """One attention layer; with ``uses_memory`` it also attends to the neighbours of its queries in a memory."""

    def __init__(self, config: ModelConfig, uses_memory: bool) -> None:
        super().__init__()
        self.config = config
        width, narrow = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.query = nn.Linear(config.dim, width, bias=False)
        self.key = nn.Linear(config.dim, narrow, bias=False)
        self.value = nn.Linear(config.dim, narrow, bias=False)
        self.out = nn.Linear(width, config.dim, bias=False)
        init = math.log(config.scale_init) if config.scale_form == "log" else config.scale_init
        self.scale = nn.Parameter(torch.full((config.heads,), init))
        has_bias = config.memory_layer_positions or not uses_memory
        self.relative_bias = nn.Parameter(torch.zeros(config.heads, config.relative_buckets)) if has_bias else None
        self.smear = nn.Parameter(torch.zeros(config.kv_heads)) if config.smear_keys else None
        init = config.gate_init if config.combine == "gate" else config.memory_bias_init
        self.memory_bias = nn.Parameter(torch.full((config.heads,), init)) if uses_memory else None
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x_BTC: Tensor,
        past: LayerKV | None,
        context: LocalContext,
        memory: Memory | None,
        neighbours: int,
    ) -> tuple[Tensor, LayerKV, Tensor | None]:
        """Return the layer's output, what it adds to cache and memory, and each head's mean weight on the memory."""
        q_BHTD = normalize(self._split(self.query(x_BTC)), dim=-1)
        raw_BGTD = self._split(self.key(x_BTC))
        k_BGTD = normalize(self._smeared(raw_BGTD, past), dim=-1)
        v_BGTD = self._split(self.value(x_BTC))
        new = LayerKV(k_BGTD.detach(), v_BGTD.detach(), raw_BGTD[:, :, -1:].detach())
        if past is not None:
            k_BGTD, v_BGTD = torch.cat([past.keys, k_BGTD], 2), torch.cat([past.values, v_BGTD], 2)

        local_BHTS = self._local_logits(q_BHTD, k_BGTD, context)
        found = search(memory, q_BHTD, neighbours) if memory is not None else None
        if found is None:
            mixed, share = _weigh(local_BHTS.softmax(-1), v_BGTD) * context.sees, None
        elif self.config.combine == "joint":
            mixed, share = self._joint(q_BHTD, v_BGTD, local_BHTS, context, found)
        else:
            mixed, share = self._gated(q_BHTD, v_BGTD, local_BHTS, context, found)
        return self.dropout(self.out(mixed.transpose(1, 2).flatten(2).to(x_BTC.dtype))), new, share

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, heads * D) -> (B, heads, T, D)."""
        return x.unflatten(-1, (-1, self.config.head_dim)).transpose(1, 2)

    def score_scale(self) -> Float[Tensor, "heads 1 1"]:
        """What scores are multiplied with before the softmax."""
        scale = self.scale.exp() if self.config.scale_form == "log" else self.scale.abs()
        return scale[:, None, None]

    def _scaled(self, scores: Float[Tensor, "B H T N"]) -> Tensor:
        return scores.float() * self.score_scale()

    def _smeared(self, raw_BGTD: Tensor, past: LayerKV | None) -> Tensor:
        if self.smear is None:
            return raw_BGTD
        before = torch.zeros_like(raw_BGTD[:, :, :1]) if past is None else past.last_key.to(raw_BGTD.dtype)
        previous = torch.cat([before, raw_BGTD[:, :, :-1]], dim=2)
        return raw_BGTD.lerp(previous, self.smear.sigmoid()[:, None, None].to(raw_BGTD.dtype))

    def _local_logits(self, q_BHTD: Tensor, k_BGSD: Tensor, context: LocalContext) -> Tensor:
        q_BGRTD = q_BHTD.unflatten(1, (self.config.kv_heads, -1))
        scores = (q_BGRTD @ k_BGSD[:, :, None].mT).flatten(1, 2)
        if self.relative_bias is not None:
            scores = scores + self.relative_bias[:, context.bucket]
        return self._scaled(scores).masked_fill(~context.visible, MISSING_SCORE)

    def _joint(
        self, q_BHTD: Tensor, v_BGSD: Tensor, local_BHTS: Tensor, context: LocalContext, found: SearchResult
    ) -> tuple[Tensor, Tensor]:
        """One softmax over local and retrieved scores, with a learned bias per head on the latter."""
        assert self.memory_bias is not None
        retrieved_BHTK = self._scaled(found.dot(q_BHTD)) + self.memory_bias[:, None, None]
        weights = torch.cat([local_BHTS, retrieved_BHTK], -1).softmax(-1)
        local, retrieved = weights.split([local_BHTS.shape[-1], retrieved_BHTK.shape[-1]], dim=-1)
        sees_BHT1 = context.sees | found.mask[..., :1]
        mixed = (_weigh(local, v_BGSD) + found.mix(retrieved)) * sees_BHT1
        return mixed, (retrieved.detach().sum(-1, keepdim=True) * sees_BHT1).mean((0, 2, 3))

    def _gated(
        self, q_BHTD: Tensor, v_BGSD: Tensor, local_BHTS: Tensor, context: LocalContext, found: SearchResult
    ) -> tuple[Tensor, Tensor]:
        """The paper's form: V_a = g V_m + (1 - g) V_c with g = sigmoid(b_h), one scalar per head."""
        assert self.memory_bias is not None
        retrieved = found.mix(self._scaled(found.dot(q_BHTD)).softmax(-1))  # zero where nothing was found
        local = _weigh(local_BHTS.softmax(-1), v_BGSD) * context.sees
        gate = self.memory_bias.sigmoid()[:, None, None]
        if self.config.empty_memory == "local":
            gate = gate * found.mask[..., :1]
        return torch.lerp(local.float(), retrieved, gate), gate.detach().expand((*local.shape[:3], 1)).mean((0, 2, 3))


def _weigh(weights_BHTS: Tensor, v_BGSD: Tensor) -> Tensor:
    """Weighted sums of the values, each key/value head serving its group of query heads."""
    weights = weights_BHTS.to(v_BGSD.dtype).unflatten(1, (v_BGSD.shape[1], -1))
    return (weights @ v_BGSD[:, :, None]).flatten(1, 2)
