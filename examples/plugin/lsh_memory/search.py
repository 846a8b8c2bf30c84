"""Keys that lie on the same sides of random hyperplanes as the query (Charikar, STOC 2002; arXiv 1509.02897)."""

import torch
from pydantic import PositiveInt
from torch import Tensor

from memstack import IndexedMemory, MemoryShape


class LSHMemory(IndexedMemory):
    """Two vectors lie on one side of a random hyperplane with probability 1 - angle / pi: shared sides tell it."""

    class Options(IndexedMemory.Options):
        bits: PositiveInt = 64
        """Hyperplanes, that is bits per key; more is slower and more accurate."""
        candidates: PositiveInt = 128
        """Keys proposed per query, never fewer than k; more is slower and more accurate."""
        seed: int = 0
        """Seeds the hyperplanes."""

    options: Options

    def __init__(self, shape: MemoryShape, options: Options | None = None) -> None:
        super().__init__(shape, options)
        random = torch.Generator().manual_seed(self.options.seed)
        self.planes = torch.randn(
            shape.key_dim, self.options.bits, generator=random, dtype=torch.float32, device="cpu"
        ).to(self.device)
        # Sides as +1 and -1, so that a matrix product counts those that agree.
        self.sides = torch.zeros(
            shape.rows, shape.heads, shape.capacity, self.options.bits, device=self.device, dtype=torch.float32
        )

    def index_add(self, rows: Tensor, slots: Tensor, keys: Tensor) -> None:
        self.sides[rows[:, None], :, slots] = self.sides_of(keys).transpose(1, 2)

    def index_search(self, queries: Tensor, k: int) -> Tensor:
        lengths = self.lengths
        used = int(lengths.max())
        agreement = self.sides_of(queries) @ self.sides[:, :, :used].mT
        dead = (torch.arange(used, dtype=torch.int64, device="cpu") >= lengths[:, None])[:, None, None].to(self.device)
        return agreement.masked_fill(dead, -torch.inf).topk(min(used, max(k, self.options.candidates))).indices

    def index_forget(self, rows: Tensor) -> None:
        """Nothing to do: a side is looked at only while its slot is live, and adding replaces it."""

    def sides_of(self, vectors: Tensor) -> Tensor:
        return (vectors.to(self.planes.dtype) @ self.planes > 0).to(self.planes.dtype) * 2 - 1
