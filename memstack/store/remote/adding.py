"""What is added: of each row the newest that it has room for, as points with ids of their own."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from memstack.contract.shape import MemoryShape
from memstack.contract.validation import Padded
from memstack.store.remote.letters import joined
from memstack.store.remote.protocol import Array, Points
from memstack.store.remote.windows import Row, ids_of


class Given(NamedTuple):
    """New entries of one row."""

    row: int
    keys: Float[Tensor, "heads n key_dim"]
    values: Float[Tensor, "heads n value_dim"]
    passed: int
    """How many came before them that leave at once, and are not sent."""


def newest(
    keys: Float[Tensor, "rows heads n key_dim"],
    values: Float[Tensor, "rows heads n value_dim"],
    counts: Int[Tensor, " rows"],
    padded: Padded,
    capacity: int,
) -> list[Given]:
    """Return, of each row that is given any, the newest of its entries that there is room for."""
    found: list[Given] = []
    for row, count in enumerate(counts.tolist()):
        end = count if padded == "right" else keys.shape[2]
        kept = slice(end - min(count, capacity), end)
        if count:
            found.append(Given(row, keys[row, :, kept], values[row, :, kept], max(count - capacity, 0)))
    return found


def numbered(
    given: Sequence[Given], rows: Sequence[Row], shape: MemoryShape, dtype: torch.dtype
) -> tuple[Points, tuple[Row, ...]]:
    """Return new entries as points, a copy of their numbers as ``dtype`` holds them, and the rows with them."""
    changed, parts = list(rows), list[Points]()
    for row, keys, values, passed in given:
        n, first = keys.shape[1], rows[row].next
        ids = ids_of(row, shape.heads, np.arange(first, first + n))
        parts.append(Points(ids.reshape(-1), _numbers(keys, dtype), _numbers(values, dtype)))
        changed[row] = rows[row].extended(n, passed, first, shape.capacity)
    return joined(parts, shape.key_dim, shape.value_dim), tuple(changed)


def _numbers(vectors: Float[Tensor, "heads n dim"], dtype: torch.dtype) -> Array:
    return vectors.detach().to("cpu", dtype).to(torch.float32).flatten(0, 1).numpy()
