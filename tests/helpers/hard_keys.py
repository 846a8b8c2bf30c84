"""Keys that are hard to round, or to choose among: (MEMORIES, n, DIM), what every first pass has to search exactly."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

MEMORIES, DIM = 2, 24


def random(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(0))


def unit(n: int, dim: int = DIM) -> Tensor:
    return normalize(random(MEMORIES, n, dim), dim=-1)


def repeating(n: int) -> Tensor:
    """Text over and over: most keys tie."""
    return unit(7)[:, torch.arange(n) % 7]


def nearly_equal(n: int) -> Tensor:
    """Scores that differ by less than rounding shows."""
    return unit(1) + 1e-4 * random(MEMORIES, n, DIM)


def of_all_lengths(n: int) -> Tensor:
    """From 1e-20 to 1e15, side by side."""
    return unit(n) * torch.logspace(-20, 15, n)[torch.randperm(n, generator=torch.Generator().manual_seed(1)), None]


def zeros(n: int) -> Tensor:
    return torch.cat([torch.zeros(MEMORIES, n - 3, DIM), random(MEMORIES, 3, DIM)], 1)
