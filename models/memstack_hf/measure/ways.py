"""The ways of reading a long text that are compared: the window alone, with a memory, with full attention."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers.cache_utils import DynamicCache

from memstack_hf.memory.attaching import attach
from memstack_hf.memory.calibration import losses_of
from memstack_hf.memory.long_memory import LongMemory
from memstack_hf.model.probe import cache_argument, native_context

FULL = "full attention"
SEGMENT = 512


@dataclass(frozen=True)
class Way:
    """One way: settings of a memory, or None for full attention; ``alone`` switches the memory off."""

    name: str
    settings: dict[str, Any] | None = field(default_factory=dict[str, Any])
    alone: bool = False

    @contextmanager
    def opened(self, model: Any) -> Generator[LongMemory | None]:
        """The model, able to read this way."""
        if self.settings is None:
            yield None
            return
        with attach(model, **self.settings) as memory:
            if self.alone:
                with memory.disabled():
                    yield memory
            else:
                yield memory

    def longest(self, model: Any) -> int | None:
        """How many tokens can be read this way; None if any number."""
        return native_context(model.config.get_text_config()) if self.settings is None else None


def ways(capacities: list[int], backends: list[str], settings: dict[str, Any], store: str | None = None) -> list[Way]:
    """The window without and with sinks, memories of each backend and size, with a store as well, full attention."""
    window = {name: value for name, value in settings.items() if name in ("window", "segment")}
    memories = [
        Way(f"+ {backend} {capacity:,}", settings | {"backend": backend, "capacity": capacity})
        for backend in backends
        for capacity in capacities
    ]
    if store is not None:
        memories += [Way(f"{way.name} + store", {**(way.settings or {}), "store": store}) for way in memories]
    return [
        Way("window", window | {"sinks": 0}, alone=True),
        Way("window + sinks", window, alone=True),
        *memories,
        Way(FULL, None),
    ]


@torch.no_grad()
def read(model: Any, memory: LongMemory | None, ids: Int[Tensor, "rows n"]) -> tuple[Tensor, int]:
    """Read a text from its beginning: the nats of every token after the first, and the bytes held at the end."""
    if memory is not None:
        memory.reset()
        losses = torch.cat(list(losses_of(memory, ids)), 1)
        return losses, held_bytes(memory)
    cache, losses, before = DynamicCache(config=model.config.get_text_config()), [], None
    for part in ids.split(SEGMENT, 1):
        output = model(input_ids=part, use_cache=True, **{cache_argument(model): cache})
        logits = output.logits.float()
        if before is not None:
            losses.append(cross_entropy(before, part[:, 0], reduction="none")[:, None])
        losses.append(cross_entropy(logits[:, :-1].transpose(1, 2), part[:, 1:], reduction="none"))
        before = logits[:, -1]
    held = sum(_bytes(layer.keys) + _bytes(layer.values) for layer in cache.layers)  # type: ignore[union-attr]
    return torch.cat(losses, 1), held


def held_bytes(memory: LongMemory) -> int:
    """What keys and values in sight and remembered take, without a backend's index."""
    window = sum(_bytes(layer.keys) + _bytes(layer.values) for layer in memory.cache.each)
    stored = sum(
        _bytes(part)
        for each in memory.bank.values()
        for name, part in each.state_dict().items()
        if name in ("keys", "values")
    )
    return window + stored


def _bytes(part: Tensor | None) -> int:
    return 0 if part is None else part.numel() * part.element_size()
