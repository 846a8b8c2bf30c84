"""A stream of text and what is remembered of it: reader, memory bank and cache, whose rows belong together."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from memstack import MemoryBank, MemoryShape
from memstack.plugins.config import MemoryConfig
from memstack.plugins.registry import registry
from memstack.wrappers.sharded import DealtMemory, ShardedMemory
from memstack_models.data.reader import Reader, Segment
from memstack_models.transformer.cache import Cache
from memstack_models.transformer.config import ModelConfig
from memstack_models.transformer.transformer import SegmentOutput


@dataclass(frozen=True)
class Stream:
    """Rows of documents, read in order. Training, evaluation and each part of an accumulated step have their own."""

    reader: Reader
    bank: MemoryBank
    """Empty where the memory is off."""
    cache: Cache
    distracted: bool = False
    """What is remembered of a row's documents before stays in its memory."""

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> Segment:
        """Read a segment; rows that start a document forget the one before, or see it in the memory alone."""
        segment = next(self.reader)
        if not self.distracted:
            self.bank.reset(segment.starts)
        self.cache.reset(segment.starts)
        return segment

    def commit(self, new: SegmentOutput) -> None:
        """Write what the model made of the segment; call it once per segment, after backward."""
        self.cache.add(new.layers)
        self.bank.commit(new.of_layers(self.bank.layers))

    def state_dict(self) -> dict[str, Tensor]:
        """Return positions, memories and cache as named tensors."""
        parts = {"reader": self.reader.state_dict(), "cache": self.cache.state_dict(), "memory": self.bank.state_dict()}
        return {f"{part}.{name}": tensor for part, state in parts.items() for name, tensor in state.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue where the saved stream was."""
        self.reader.load_state_dict(sub_state(state, "reader"))
        self.cache.load_state_dict(sub_state(state, "cache"))
        self.bank.load_state_dict(sub_state(state, "memory"))


def create_bank(model: ModelConfig, memory: MemoryConfig, rows: int, device: torch.device) -> MemoryBank:
    """Build a memory for every memory layer, its store on the model's device if that backend's search can run there.

    With ``memory.shards`` it lies on as many ranks, which all run alike.
    """
    shape = MemoryShape(
        rows=rows,
        heads=model.kv_heads,
        key_dim=model.head_dim,
        value_dim=model.head_dim,
        capacity=memory.capacity,
    )
    options = registry().place_options(memory.backend, memory.options, device)
    if memory.shards == 1:
        return MemoryBank.create(memory.backend, shape, model.memory_layers, **options)
    part = partial(registry().create, memory.backend, **options)
    return MemoryBank(
        {
            layer: DealtMemory(ShardedMemory(shape, part, memory.shards, memory.shard_limit))
            for layer in model.memory_layers
        }
    )


def sub_state(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The part of a flat state whose names begin with ``prefix.``, under their names without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)}
