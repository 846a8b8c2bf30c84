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


def one_coordinate(n: int) -> Tensor:
    """One number so large that all others are rounded to nothing."""
    keys = random(MEMORIES, n, DIM)
    keys[..., 0] = 1000
    return keys


def descending(n: int) -> Tensor:
    """Best last for every query that resembles the first: the threshold rises with every key."""
    keys = unit(n)
    return keys.gather(1, (keys @ keys[:, :1].mT).argsort(1).expand(-1, -1, DIM))


def far_from_the_origin(n: int) -> Tensor:
    """A mean a thousand times as long as what tells the keys apart: a trained model's, and more so."""
    return unit(n) + 1000 * random(MEMORIES, 1, DIM)


KEYS = (unit, repeating, nearly_equal, of_all_lengths, one_coordinate, zeros, descending, far_from_the_origin)


def asked_of(keys: Tensor) -> Tensor:
    """Queries, (MEMORIES, 23, DIM): any, one that is a key, one as long as three of it, and one that is nothing."""
    return torch.cat([random(MEMORIES, 20, DIM), keys[:, :1], keys[:, :1] * 3, torch.zeros(MEMORIES, 1, DIM)], 1)
