"""The store that is to be sized: how many entries, how wide, who asks it how often."""

import math
from enum import StrEnum

from pydantic import Field

from memstack import ConfigError
from memstack.contract.errors import cut, printable
from memstack.plugins.config import Frozen
from memstack.plugins.room import vector_bytes

MOST = 10**15
"""Entries: some thousand times what anybody has kept."""


class DType(StrEnum):
    """How keys and values are kept."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


class Asked(Frozen):
    """A store that all ranks share, and a step in which each asks it."""

    ranks: int = Field(default=8, gt=0, le=1 << 16)
    heads: int = Field(default=1, gt=0, le=1 << 16)
    """Memories, each with as many entries: heads of all memory layers."""
    key_dim: int = Field(default=64, gt=0, le=1 << 16)
    value_dim: int = Field(default=64, gt=0, le=1 << 16)
    dtype: DType = DType.BFLOAT16
    queries: int = Field(default=1024, gt=0, le=1 << 30)
    """Of one rank and head, in one step."""
    neighbours: int = Field(default=32, gt=0, le=1 << 16)


def entries_of(text: str) -> int:
    """Read a number of entries, as 1e9, 1_000_000 or 65536; ConfigError for what is none."""
    shown = cut(printable(text), 40)
    try:
        number = float(text)
    except ValueError:
        raise ConfigError(f"--entries {shown!r} is no number: give one such as 1e9, 65536 or 1_000_000") from None
    if not math.isfinite(number) or not 1 <= number <= MOST or number != int(number):
        raise ConfigError(f"--entries {shown} should be a whole number from 1 to {MOST:.0e}")
    return int(number)


def refuse_more_ranks(entries: int, ranks: int) -> None:
    """ConfigError if some rank would hold no entry."""
    if ranks > entries:
        raise ConfigError(f"{entries:,} entries on {ranks:,} ranks leave some without one: lower --ranks")


def entry_bytes(asked: Asked, dtype: str) -> int:
    """What a key and its value take in a dtype."""
    return vector_bytes(asked.key_dim, dtype) + vector_bytes(asked.value_dim, dtype)


def human(number: float) -> str:
    """A number with three figures and its unit's prefix: 33 G of 3.3e10; what is below a thousand is as it is."""
    for prefix, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:,.3g} {prefix}" if number < 1e18 else f"{number:.3g} "
    return f"{number:.3g} "
