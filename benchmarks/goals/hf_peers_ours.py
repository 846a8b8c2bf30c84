"""Our side of ``hf_peers.py``: windows with and without a memory, transformers' sliding cache, and full attention."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from memstack_hf.measure.ways import Way, held_bytes
from memstack_hf.memory.long_memory import LongMemory
from memstack_hf.model.probe import cache_argument
from transformers.cache_utils import Cache, DynamicCache, DynamicSlidingWindowLayer

from .hf_peers_worker import FULL, SEGMENT, Outcome, Text, bytes_per_token, judged

SINKS, NEIGHBOURS, CAPACITY = 4, 32, 8192
"""Our defaults, and a capacity that is never reached."""
SLIDING = "transformers' sliding cache"
BF16 = {"dtype": "bfloat16"}


@dataclass(frozen=True)
class Ours:
    """One way at one budget: a memory's settings, or None for a cache of transformers."""

    name: str
    budget: int
    settings: dict[str, Any] | None = field(default=None)
    alone: bool = False


def ours(budget: int) -> dict[str, Ours]:
    """All ways at a budget, by name."""
    window, half = budget - SINKS - NEIGHBOURS, (budget - SINKS - NEIGHBOURS) // 2
    memory: dict[str, Any] = {"window": window, "capacity": CAPACITY}
    halved = {"window": half, "capacity": budget - SINKS - half, "options": BF16}
    found = [
        Ours(FULL, 0),
        Ours(SLIDING, budget),
        Ours("window + sinks", budget, {"window": budget - SINKS}, alone=True),
        Ours("memory", budget, memory),
        Ours("memory, bfloat16", budget, memory | {"options": BF16}),
        Ours("memory of half the budget, bfloat16", budget, halved),
    ]
    return {one.name: one for one in found}


@torch.no_grad()
def outcomes(model: Any, way: Ours, text: Text) -> Iterator[Outcome]:
    """Read a text up to each context in segments, and go on from there."""
    if way.settings is None:
        yield from _with_cache(model, way, text)
        return
    settings = {"segment": SEGMENT, "sinks": SINKS, "neighbours": NEIGHBOURS} | way.settings
    with Way(way.name, settings, way.alone).opened(model) as memory:
        assert memory is not None
        yield from _with_memory(memory, way, text)


def _with_memory(memory: LongMemory, way: Ours, text: Text) -> Iterator[Outcome]:
    memory.reset()
    per_token, read, peak = bytes_per_token(memory.model), 0, 0
    for context in text.contexts:
        before, after, wanted = text.parts(context)
        for part in before[:, read:].split(SEGMENT, 1):
            peak = max(peak, held_bytes(memory) + part.shape[1] * per_token)
            memory.read(part)
            read += part.shape[1]
        now = memory.snapshot()
        kept = held_bytes(memory)
        peak = max(peak, kept)
        found = 0 if way.alone else min(NEIGHBOURS, int(memory.remembered.max()))
        seen = memory.cache.columns + found
        if seen > way.budget:
            raise RuntimeError(
                f"{way.name} should read {way.budget} tokens after {context}, not {seen}: contexts are whole segments"
            )
        logits = memory.read(after, logits=True)
        assert logits is not None
        nats, right = judged(logits[0], wanted, text.counted)
        yield Outcome(way.name, way.budget, text.name, context, nats, right, seen * per_token, kept, peak)
        memory.restore(now)


def _with_cache(model: Any, way: Ours, text: Text) -> Iterator[Outcome]:
    cache = sliding(model, way.budget) if way.budget else DynamicCache(config=model.config)
    per_token, read, peak, name = bytes_per_token(model), 0, 0, cache_argument(model)
    for context in text.contexts:
        before, after, wanted = text.parts(context)
        for part in before[:, read:].split(SEGMENT, 1):
            peak = max(peak, _tokens(cache) + part.shape[1])
            model.model(input_ids=part, use_cache=True, **{name: cache})
            read += part.shape[1]
        kept = _tokens(cache) * per_token
        logits = model(input_ids=after, use_cache=True, **{name: copy.deepcopy(cache)}).logits[0]
        nats, right = judged(logits, wanted, text.counted)
        yield Outcome(way.name, way.budget, text.name, context, nats, right, kept, kept, peak * per_token)


def sliding(model: Any, budget: int) -> Cache:
    """The cache that transformers gives layers with a sliding window, here for layers that have none."""
    # It keeps one token less than its window: the query is the last.
    layers: list[Any] = [
        DynamicSlidingWindowLayer(sliding_window=budget + 1) for _ in range(model.config.num_hidden_layers)
    ]
    return Cache(layers=layers)


def _tokens(cache: Cache) -> int:
    first: Any = cache.layers[0] if cache.layers else None
    keys = None if first is None else first.keys
    return 0 if keys is None or not keys.numel() else keys.shape[2]
