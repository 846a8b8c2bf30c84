"""A stream of text and what is remembered of it: reader, memory bank and cache, whose rows belong together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from memstack import MemoryBank, MemoryShape
from memstack.plugins.config import MemoryConfig
from memstack.plugins.registry import registry
from memstack.wrappers.sharded import DealtMemory, ShardedMemory
from memstack_models.data.reader import Reader, Segment
from memstack_models.training.rows import joined_cache, joined_memory, row_name, split_cache, split_memory
from memstack_models.transformer.cache import Cache
from memstack_models.transformer.config import ModelConfig
from memstack_models.transformer.transformer import SegmentOutput

Held = TypeVar("Held")


@dataclass(frozen=True)
class Stream:
    """Rows of documents, read in order. Training, evaluation and each part of an accumulated step have their own."""

    reader: Reader
    """Of all rows, on every rank: so what is read, and in which order, does not depend on their number."""
    bank: MemoryBank
    """Empty where the memory is off."""
    cache: Cache
    share: slice = field(default_factory=lambda: slice(None))
    """Which of the reader's rows are here, with a memory and a cache; the others are on other ranks."""
    number: int = 0
    """Which part of a step it is."""
    distracted: bool = False
    """What is remembered of a row's documents before stays in its memory."""

    @property
    def all_rows(self) -> range:
        """The reader's rows, by their numbers among the rows of all parts."""
        return range(self.number * self.reader.rows, (self.number + 1) * self.reader.rows)

    @property
    def rows(self) -> range:
        """Those of them that are here."""
        return self.all_rows[self.share]

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> Segment:
        """Read a segment of the rows here; those that start a document forget the one before, or see it in the memory
        alone."""
        segment = next(self.reader).part(self.share)
        if not self.distracted:
            self.bank.reset(segment.starts)
        self.cache.reset(segment.starts)
        return segment

    def commit(self, new: SegmentOutput) -> None:
        """Write what the model made of the segment; call it once per segment, after backward."""
        self.cache.add(new.layers)
        self.bank.commit(new.of_layers(self.bank.layers))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the reader's positions, and what memories and cache hold, row by row, as named tensors."""
        found = {f"{self.name_of_reader}.{name}": tensor for name, tensor in self.reader.state_dict().items()}
        by_part = {f"memory.{layer}": split_memory(memory.state_dict()) for layer, memory in self.bank.items()}
        by_part["cache"] = split_cache(self.cache.state_dict(), len(self.rows))
        for part, by_row in by_part.items():
            for row, parts in zip(self.rows, by_row, strict=True):
                found |= {row_name(row, f"{part}.{name}"): tensor for name, tensor in parts.items()}
        return found

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue where the saved stream was, or the saved streams of whichever ranks that had these rows."""
        self.reader.load_state_dict(sub_state(state, self.name_of_reader))
        self.cache.load_state_dict(joined_cache([sub_state(state, row_name(row, "cache")) for row in self.rows]))
        memories: dict[str, Tensor] = {}
        for layer, memory in self.bank.items():
            held = [sub_state(state, row_name(row, f"memory.{layer}")) for row in self.rows]
            memories |= {f"{layer}.{name}": part for name, part in joined_memory(held, memory.shape).items()}
        self.bank.load_state_dict(memories)

    @property
    def name_of_reader(self) -> str:
        """What the reader is called in a checkpoint."""
        return f"stream.{self.number}.reader"


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


def sub_state(state: Mapping[str, Held], prefix: str) -> dict[str, Held]:
    """The part of a flat state whose names begin with ``prefix.``, under their names without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): held for name, held in state.items() if name.startswith(start)}
