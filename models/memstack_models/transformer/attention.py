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

from memstack import Attended, Memory, attend, local_attention
from memstack_models.transformer.cache import LayerKV
from memstack_models.transformer.config import ModelConfig


@dataclass(frozen=True)
class LocalContext:
    """What every layer's local attention shares: who may see whom, and how far apart they are."""

    visible: Bool[Tensor, "B 1 T S"]
    bucket: Int[Tensor, " T+S-1"]
    """Of the last token's distance to the first key, S - 1, and of every lesser one, down to that of the first token to
    the last key."""

    @property
    def cached(self) -> Int[Tensor, "B T"]:
        """How many cached tokens each one sees: the newest of its document."""
        segment, total = self.visible.shape[2:]
        return self.visible[:, 0, :, : total - segment].sum(-1)


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
        by_content = uses_memory and config.gate_form == "content"
        self.memory_gate = nn.Parameter(torch.zeros(config.heads, config.dim)) if by_content else None
        age = config.age_init if uses_memory else None
        self.memory_age = nn.Parameter(torch.full((config.heads,), age)) if age is not None else None
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x_BTC: Tensor,
        past: LayerKV | None,
        context: LocalContext,
        memory: Memory | None,
        neighbours: int,
    ) -> tuple[Tensor, LayerKV, Tensor | None]:
        """Return the layer's output, what it adds to cache and memory, and the weight (B, H, T) on the memory."""
        q_BHTD = normalize(self._split(self.query(x_BTC)), dim=-1)
        raw_BGTD = self._split(self.key(x_BTC))
        k_BGTD = normalize(self._smeared(raw_BGTD, past), dim=-1)
        v_BGTD = self._split(self.value(x_BTC))
        new = LayerKV(k_BGTD.detach(), v_BGTD.detach(), raw_BGTD[:, :, -1:].detach())
        if past is not None:
            k_BGTD, v_BGTD = torch.cat([past.keys, k_BGTD], 2), torch.cat([past.values, v_BGTD], 2)

        mixed_BHTD, lse_BHT = self._local(q_BHTD, k_BGTD, v_BGTD, context)
        share = None
        if memory is not None:
            gate = self._gate(x_BTC) if self.config.combine == "gate" else None
            mixed_BHTD, share_BHT = self._merged(memory, q_BHTD, mixed_BHTD, lse_BHT, neighbours, gate, context)
            share = share_BHT.detach()
        return self.dropout(self.out(mixed_BHTD.transpose(1, 2).flatten(2).to(x_BTC.dtype))), new, share

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, heads * D) -> (B, heads, T, D)."""
        return x.unflatten(-1, (-1, self.config.head_dim)).transpose(1, 2)

    def score_scale(self) -> Float[Tensor, " heads"]:
        """What scores are multiplied with before the softmax."""
        return self.scale.exp() if self.config.scale_form == "log" else self.scale.abs()

    def _smeared(self, raw_BGTD: Tensor, past: LayerKV | None) -> Tensor:
        if self.smear is None:
            return raw_BGTD
        before = torch.zeros_like(raw_BGTD[:, :, :1]) if past is None else past.last_key.to(raw_BGTD.dtype)
        previous = torch.cat([before, raw_BGTD[:, :, :-1]], dim=2)
        return raw_BGTD.lerp(previous, self.smear.sigmoid()[:, None, None].to(raw_BGTD.dtype))

    def _local(
        self, q_BHTD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, context: LocalContext
    ) -> tuple[Float[Tensor, "B H T D"], Float[Tensor, "B H T"]]:
        scale = self.score_scale()
        bias = None
        if self.relative_bias is not None:
            # Looked up once per distance: the gradient of a lookup per score is summed one by one, on a GPU most of a
            # step. Row t of the windows begins at the distance of token T - 1 - t.
            of_distance = self.relative_bias[:, context.bucket] * scale[:, None]
            bias = of_distance.unfold(-1, k_BGSD.shape[2], 1).flip(-2)
        return local_attention(q_BHTD, k_BGSD, v_BGSD, scale=scale, bias=bias, mask=context.visible, causal=False)

    def _gate(self, x_BTC: Tensor) -> Tensor | None:
        """The gate's bias per head, or per token what its content says beside that."""
        if self.memory_gate is None or self.memory_bias is None:
            return self.memory_bias
        return (x_BTC @ self.memory_gate.T + self.memory_bias).mT

    def _merged(
        self,
        memory: Memory,
        q_BHTD: Tensor,
        local_BHTD: Tensor,
        lse_BHT: Tensor,
        neighbours: int,
        gate: Tensor | None,
        context: LocalContext,
    ) -> Attended:
        """One softmax over local and retrieved scores, or a gate."""
        return attend(
            memory,
            q_BHTD,
            local_BHTD,
            lse_BHT,
            neighbours,
            scale=self.score_scale(),
            gate=gate,
            bias=self.memory_bias if gate is None else None,
            age=self.memory_age,
            candidates=self.config.candidates,
            seen=None if self.config.cached_twice else context.cached.expand(len(q_BHTD), -1),
            empty_memory=self.config.empty_memory,
            largest_share=self.config.largest_share,
        )
