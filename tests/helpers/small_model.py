"""A model so small that a test can look at all of it."""

import torch
from memstack_models.training.stream import create_bank
from memstack_models.transformer.cache import Cache
from memstack_models.transformer.config import ModelConfig
from memstack_models.transformer.transformer import SegmentOutput, Transformer
from torch import Tensor

from memstack import MemoryBank
from memstack.plugins.config import MemoryConfig

ROWS, SEGMENT, VOCABULARY = 2, 8, 32


def build(**overrides: object) -> Transformer:
    torch.manual_seed(0)
    return Transformer(
        ModelConfig.model_validate({"preset": "tiny", "memory_layers": [2]} | overrides), VOCABULARY, neighbours=4
    ).eval()


def memories(model: Transformer, capacity: int = 64) -> MemoryBank:
    return create_bank(model.config, MemoryConfig(capacity=capacity), ROWS, torch.device("cpu"))


def commit(bank: MemoryBank, cache: Cache, new: SegmentOutput) -> None:
    cache.add(new.layers)
    bank.commit(new.of_layers(bank.layers))


def tokens(segments: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(VOCABULARY, (ROWS, segments * SEGMENT), generator=generator)
