"""Memories of the bucketed backend, and keys to fill them with."""

from typing import Any

import torch
from memstack_bucketed.search import BucketedMemory
from torch import Tensor
from torch.nn.functional import normalize

import memstack
from memstack import MemoryShape

LARGE = MemoryShape(rows=1, heads=2, key_dim=32, value_dim=1, capacity=8192)
NEIGHBOURS = 32


def make(shape: MemoryShape = LARGE, **options: Any) -> BucketedMemory:
    memory = memstack.create_memory("bucketed", shape, **options)
    assert isinstance(memory, BucketedMemory)
    return memory


def unit_keys(n: int, seed: int) -> Tensor:
    """Unit vectors in random directions."""
    random = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(LARGE.rows, LARGE.heads, n, LARGE.key_dim, generator=random), dim=-1)


def filled(keys: Tensor, **options: Any) -> BucketedMemory:
    memory = make(**options)
    memory.add(keys, torch.zeros(*keys.shape[:3], 1))
    return memory
