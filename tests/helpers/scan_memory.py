"""A memory with an index per head that scans what it is given, notes what is built of it, and fails when told to."""

import threading
from typing import Any, cast

import numpy as np
import torch

from memstack import MemoryShape, PerHeadIndexMemory

SHAPE = MemoryShape(rows=2, heads=2, key_dim=4, value_dim=2, capacity=24)


class Scan:
    """An index that scans all it was given, and needs to be built again when told so."""

    needs_rebuild = False

    def __init__(self, keys: Any) -> None:
        self.keys = dict(enumerate(keys))

    def add(self, slots: Any, keys: Any) -> None:
        self.keys |= dict(zip(slots.tolist(), keys, strict=True))

    def search(self, queries: Any, k: int) -> Any:
        slots = np.array(list(self.keys))
        scores = queries @ np.stack(list(self.keys.values())).T
        return slots[np.argsort(-scores, 1)[:, :k]]


class ScanMemory(PerHeadIndexMemory):
    """Notes what it builds, and fails when told to."""

    def __init__(self, shape: MemoryShape, **options: Any) -> None:
        super().__init__(shape, self.Options(exact_below=10, **options))
        self.built: list[int] = []
        self.failing = threading.Event()

    def build_index(self, keys: Any) -> Scan:
        if self.failing.is_set():
            raise RuntimeError("the library has failed")
        self.built.append(len(keys))
        return Scan(keys)

    @property
    def indexes(self) -> list[Scan]:
        return [cast(Scan, index) for row in vars(self)["_PerHeadIndexMemory__indexes"].values() for index in row]


def entries(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random keys and values of n entries, for a memory of ``SHAPE``."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(2, 2, n, 4, generator=random), torch.randn(2, 2, n, 2, generator=random)


def same_as_exact(memory: PerHeadIndexMemory, k: int = 5) -> bool:
    """Whether a search finds the true neighbours, in their order."""
    queries = torch.randn(2, 2, 6, 4, generator=torch.Generator().manual_seed(7))
    found, truth = memory.search(queries, k), memory.search_exactly(queries, k)
    return torch.equal(found.positions, truth.positions)
