"""A pre-norm decoder whose chosen layers also attend to a memory (arXiv 2203.08913). It only reads the memory."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from memstack import Memory, MemoryBank, save_searches
from memstack_models.transformer.attention import Attention, LocalContext
from memstack_models.transformer.cache import Cache, LayerKV
from memstack_models.transformer.config import ModelConfig


@dataclass(frozen=True)
class SegmentOutput:
    """What a segment adds: the step, not the model, writes it to cache and memory once backward is done."""

    layers: tuple[LayerKV, ...]
    shares: Float[Tensor, "memory_layers rows heads segment"]
    """Attention weight that each token, by each head of each memory layer, gave to retrieved entries."""

    @property
    def memory_share(self) -> Float[Tensor, "memory_layers heads"]:
        """The mean of it, over rows and tokens."""
        return self.shares.mean((1, 3))

    def of_layers(self, layers: Iterable[int]) -> dict[int, tuple[Tensor, Tensor]]:
        """Return the keys and values of these layers, counted from 1, as a memory bank takes them."""
        return {layer: (self.layers[layer - 1].keys, self.layers[layer - 1].values) for layer in layers}


class Block(nn.Module):
    """Attention and feed-forward, each after an RMS norm and added to the residual stream."""

    def __init__(self, config: ModelConfig, uses_memory: bool) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.dim, eps=1e-6)
        self.attention = Attention(config, uses_memory)
        self.ffn_norm = nn.RMSNorm(config.dim, eps=1e-6)
        self.up = nn.Linear(config.dim, config.ffn_dim, bias=False)
        self.down = nn.Linear(config.ffn_dim, config.dim, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, past: LayerKV | None, context: LocalContext, memory: Memory | None, neighbours: int
    ) -> tuple[Tensor, LayerKV, Tensor | None]:
        attended, new, share = self.attention(self.attention_norm(x), past, context, memory, neighbours)
        x = x + attended
        return x + self.dropout(self.down(self.up(self.ffn_norm(x)).relu())), new, share


class Transformer(nn.Module):
    """The decoder. Rows are documents read in order; axes are (rows, segment)."""

    def __init__(self, config: ModelConfig, vocab_size: int, neighbours: int = 32) -> None:
        super().__init__()
        self.config = config
        self.neighbours = neighbours
        self.embedding = nn.Embedding(vocab_size, config.dim)
        self.blocks = nn.ModuleList(Block(config, i + 1 in config.memory_layers) for i in range(config.layers))
        self.norm = nn.RMSNorm(config.dim, eps=1e-6)
        self.dropout = nn.Dropout(config.dropout)
        self.checkpointed = frozenset[int]()
        """Layers, counted from 1, whose activations are computed again in backward instead of kept."""
        self._initialise()

    def forward(
        self, tokens: Int[Tensor, "rows segment"], bank: MemoryBank | None = None, cache: Cache | None = None
    ) -> tuple[Float[Tensor, "rows segment vocab"], SegmentOutput]:
        """Return next-token logits and what the segment adds to cache and memory.

        The bank has the memories of all memory layers; without one, or with an empty one, there is local attention
        alone. Without a cache nothing is seen of the segment before.
        """
        memories = dict(bank or {})
        if memories and memories.keys() != set(self.config.memory_layers):
            raise ValueError(
                f"memory layers {self.config.memory_layers} need a memory each, the bank has layers {tuple(memories)}"
            )
        context = local_context(self.config, tokens, cache)
        x = self.dropout(self.embedding(tokens))
        layers: list[LayerKV] = []
        shares: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            past = cache.layers[i] if cache is not None else None
            run = _checkpointed(block) if i + 1 in self.checkpointed and torch.is_grad_enabled() else block
            x, new, share = run(x, past, context, memories.get(i + 1), self.neighbours)
            layers.append(new)
            shares += [share] if share is not None else []
        logits = self.norm(x) @ self.embedding.weight.T * self.config.dim**-0.5
        rows, segment = tokens.shape
        none = x.new_zeros(0, rows, self.config.heads, segment)
        return logits, SegmentOutput(tuple(layers), torch.stack(shares) if shares else none)

    def attention(self, layer: int) -> Attention:
        """The attention of a layer, counted from 1."""
        return cast(Block, self.blocks[layer - 1]).attention

    def _initialise(self) -> None:
        """Embedding of unit variance with logits divided by sqrt(dim), tied; what a block adds starts small."""
        nn.init.normal_(self.embedding.weight, std=1.0)
        for name, weight in self.named_parameters():
            if weight.ndim == 2 and name.startswith("blocks.") and not name.endswith(("relative_bias", "memory_gate")):
                adds = name.endswith(("out.weight", "down.weight"))
                depth = (2 * self.config.layers) ** -0.5 if adds else 1.0
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5 * depth)


def _checkpointed(block: nn.Module) -> Callable[..., Any]:
    return partial(checkpoint, block, use_reentrant=False, context_fn=save_searches)


def local_context(config: ModelConfig, tokens: Tensor, cache: Cache | None) -> LocalContext:
    """Who sees whom: a causal window within the document, as long as the cache but never shorter than the segment."""
    segment = tokens.shape[1]
    cached = cache.length if cache is not None else 0
    query = torch.arange(segment, device=tokens.device, dtype=torch.int64)[:, None]
    distance = query + cached - torch.arange(cached + segment, device=tokens.device, dtype=torch.int64)
    nearest = 0 if config.include_self else 1
    visible = (distance >= nearest) & (distance < nearest + max(cached, segment))
    visible = visible.expand(1, 1, -1, -1)
    if cache is not None and cached:
        place = torch.arange(cached + segment, device=tokens.device, dtype=torch.int64)
        visible = visible & (place >= cached - cache.filled[:, None])[:, None, None]
    falling = torch.arange(cached + segment - 1, -segment, -1, device=tokens.device, dtype=torch.int64)
    bucket = relative_bucket(falling.clamp(min=0), config.relative_buckets, config.relative_distance)
    return LocalContext(visible, bucket)


def relative_bucket(distance: Int[Tensor, "*any"], buckets: int, max_distance: int) -> Int[Tensor, "*any"]:
    """T5's causal buckets (arXiv 1910.10683): half of them exact, the rest logarithmic up to ``max_distance``."""
    exact = buckets // 2
    ratio = torch.log(distance.clamp(min=1).to(torch.float32) / exact) / torch.log(
        torch.tensor(max_distance / exact, dtype=torch.float32, device="cpu")
    )
    far = exact + (ratio * (buckets - exact)).long()
    return torch.where(distance < exact, distance, far.clamp(max=buckets - 1))
