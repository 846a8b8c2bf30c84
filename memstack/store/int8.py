"""Vectors in eight bits: whole numbers from -127 to 127, times a scale of each vector's own."""

from typing import Any

import torch
from jaxtyping import BFloat16, Float, Int, Int8
from torch import Tensor

LARGEST_CODE = 127


class Quantised:
    """(*outer, dim) vectors in dim + 2 bytes each, that index and write like a tensor over all axes but the last.

    What an index gives is quantised still, and copies no more than a tensor's would; ``to`` reads it as floats. A
    number is off by at most half its vector's scale, which is the vector's largest number over 127. Where a number is
    not finite, the finite ones of its vector read NaN; a vector without a number of at least 1e-35 reads zeros.
    """

    def __init__(self, codes: Int8[Tensor, "*outer dim"], scale: BFloat16[Tensor, "*outer 1"]) -> None:
        self.codes = codes
        self.scale = scale

    @classmethod
    def of(cls, vectors: Float[Tensor, "*outer dim"]) -> "Quantised":
        """Quantise vectors. What was read from quantised ones comes out as it was, to the bit.

        For a scale has 8 bits and a code 7, so that their product is exact in float32, and the largest code is always
        127: rounding a scale to bfloat16 moves that by a quarter at most, and costs no accuracy.
        """
        largest = vectors.float().nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf).abs()
        scale = (largest.amax(-1, keepdim=True) / LARGEST_CODE).to(torch.bfloat16)
        scale.masked_fill_(scale < torch.finfo(torch.bfloat16).tiny, 1)
        codes = (vectors.float().nan_to_num() / scale.float().nan_to_num()).round_()
        return cls(codes.clamp_(-LARGEST_CODE, LARGEST_CODE).to(torch.int8), scale)

    @property
    def shape(self) -> torch.Size:
        return self.codes.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.codes.dtype

    @property
    def device(self) -> torch.device:
        return self.codes.device

    def __getitem__(self, index: Any) -> "Quantised":
        return Quantised(self.codes[index], self.scale[index])

    def __setitem__(self, index: Any, vectors: Float[Tensor, "*outer dim"]) -> None:
        new = Quantised.of(vectors)
        self.codes[index], self.scale[index] = new.codes, new.scale

    def index_select(self, axis: int, index: Int[Tensor, " some"]) -> "Quantised":
        """Pick along an outer axis, as of a tensor."""
        return Quantised(self.codes.index_select(axis, index), self.scale.index_select(axis, index))

    def flatten(self, start: int, end: int) -> "Quantised":
        """Merge outer axes, as of a tensor."""
        return Quantised(self.codes.flatten(start, end), self.scale.flatten(start, end))

    def unflatten(self, axis: int, sizes: tuple[int, ...]) -> "Quantised":
        """Split an outer axis, as of a tensor."""
        return Quantised(self.codes.unflatten(axis, sizes), self.scale.unflatten(axis, sizes))

    def to(self, *wanted: Any) -> Float[Tensor, "*outer dim"]:
        """Read the vectors, always as a copy, in float32 or the dtype and on the device wanted, as ``Tensor.to``."""
        return self.codes.float().mul_(self.scale).to(*wanted)


Vectors = Tensor | Quantised
"""Vectors by index."""
