"""Numbers of a configuration, within bounds: what no machine can hold or count is refused where it is read.

A ``true`` is no number, and a number that is not finite is none either.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

LARGEST_SIZE = 1 << 20
LARGEST_LENGTH = 1 << 24
LARGEST_COUNT = 1 << 53
"""Up to here every whole number is one in float64 as well, which learning rates are computed in."""
LARGEST_SEED = (1 << 64) - 1
"""Of torch's generators."""


def _number(given: Any) -> Any:
    if isinstance(given, bool):
        raise ValueError(f"a number is expected, got {str(given).lower()}")
    return given


Whole = Annotated[int, BeforeValidator(_number)]
"""A whole number; ``Annotated[Whole, Field(ge=...)]`` bounds it."""
Real = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
"""A finite number."""
Size = Annotated[Whole, Field(ge=1, le=LARGEST_SIZE)]
"""How wide, or how many side by side: rows, heads, layers, tokens of a vocabulary."""
Length = Annotated[Whole, Field(ge=1, le=LARGEST_LENGTH)]
"""How many tokens, one after the other, are held at once."""
LengthOrNone = Annotated[Whole, Field(ge=0, le=LARGEST_LENGTH)]
"""A length of which 0 is none."""
Count = Annotated[Whole, Field(ge=1, le=LARGEST_COUNT)]
"""How often, or how many in the course of time: steps."""
CountOrNone = Annotated[Whole, Field(ge=0, le=LARGEST_COUNT)]
"""A count of which 0 is none, or all, as its key says."""
Seed = Annotated[Whole, Field(ge=0, le=LARGEST_SEED)]
"""What torch's generators take, such as a clock in nanoseconds."""
Initial = Annotated[Real, Field(ge=-1e4, le=1e4)]
"""What a learned number starts from."""
