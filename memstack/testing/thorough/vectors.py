"""Random vectors whose numbers are exact in half precision and whose inner products are in float32, at any magnitude.

They are sixteenths from -4 to 4, for each vector times a power of two: so that an answer is either right or wrong.
"""

import random as standard
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["usual", "zeros", "equal", "few", "scaled"]
Layout = Literal["contiguous", "transposed", "strided"]
KINDS: tuple[Kind, ...] = ("usual",) * 6 + ("few", "equal", "zeros", "scaled", "scaled")
DTYPES = ("float32",) * 5 + ("float16", "bfloat16", "float64")
LAYOUTS: tuple[Layout, ...] = ("contiguous",) * 4 + ("transposed", "strided")
FEW = {"equal": 1, "few": 3}
EXPONENTS = {"float16": (-18, 12)}
"""What a vector may be scaled by in a dtype whose range is narrow; products of two are finite, and no denormals."""
WIDE = (-50, 50)


def generator(seed: int) -> torch.Generator:
    """A generator of torch's for this seed."""
    return torch.Generator().manual_seed(seed)


def vectors(
    random: torch.Generator, size: tuple[int, int, int, int], kind: Kind, dtypes: tuple[str, ...] = ()
) -> Tensor:
    """Return (rows, heads, n, dim) float32 vectors of that kind, exact in all these dtypes."""
    rows, heads, n, dim = size
    if kind == "zeros":
        return torch.zeros(size, dtype=torch.float32, device="cpu")
    drawn = (
        torch.randint(
            -64, 65, (rows, heads, FEW.get(kind, n), dim), generator=random, dtype=torch.int64, device="cpu"
        ).to(torch.float32)
        / 16
    )
    if kind == "equal":
        return drawn.expand(-1, -1, n, -1)
    if kind == "few":
        return drawn[:, :, torch.randint(FEW[kind], (n,), generator=random, dtype=torch.int64, device="cpu")]
    if kind == "scaled":
        return drawn * _powers_of_two(random, (rows, heads, n, 1), dtypes)
    return drawn


def laid_out(tensor: Tensor, dtype: str, layout: Layout) -> Tensor:
    """Return the same numbers in a dtype, and in memory that need not be contiguous."""
    tensor = tensor.to(getattr(torch, dtype))
    if layout == "transposed":
        return tensor.transpose(1, 2).contiguous().transpose(1, 2)
    return torch.stack([tensor, tensor], -1)[..., 0] if layout == "strided" else tensor


def weighted(random: standard.Random, *choices: tuple[int, int]) -> int:
    """Draw evenly from one of these ranges, ends included; which of them, evenly too."""
    low, high = random.choice(choices)
    return random.randint(low, max(low, high))


def _powers_of_two(random: torch.Generator, size: tuple[int, ...], dtypes: tuple[str, ...]) -> Tensor:
    ranges = [EXPONENTS.get(dtype, WIDE) for dtype in dtypes] or [WIDE]
    low, high = max(low for low, _ in ranges), min(high for _, high in ranges)
    table = torch.tensor([2.0**exponent for exponent in range(low, high + 1)], dtype=torch.float32, device="cpu")
    return table[torch.randint(len(table), size, generator=random, dtype=torch.int64, device="cpu")]
