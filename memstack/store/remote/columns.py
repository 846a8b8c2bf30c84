"""From what a store found to an answer: each entry scored by its key, the best kept in order."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from memstack.contract.entries import FetchedEntries
from memstack.contract.precision import sent
from memstack.contract.result import SearchResult
from memstack.store.ranking import ranked
from memstack.store.remote.protocol import Found
from memstack.store.remote.windows import Row, numbers_of


class Columns(NamedTuple):
    """What was found for each query, in any order: which insertions, and their keys and values."""

    positions: Int[Tensor, "rows heads q c"]
    keys: Float[Tensor, "rows heads q c key_dim"]
    values: Float[Tensor, "rows heads q c value_dim"]

    @classmethod
    def none(cls, queries: Float[Tensor, "rows heads q key_dim"], value_dim: int) -> "Columns":
        """Return no column at all."""
        positions = torch.empty(*queries.shape[:3], 0, dtype=torch.int64, device="cpu")
        keys, values = (
            torch.empty(*positions.shape, dim, dtype=torch.float32, device="cpu")
            for dim in (queries.shape[-1], value_dim)
        )
        return cls(positions, keys, values)

    @classmethod
    def of(cls, found: Found, queries: Float[Tensor, "rows heads q key_dim"], rows: Sequence[Row]) -> "Columns":
        """Return what a store found for the queries of all rows and heads; what is not live counts as missing."""
        assert found.keys is not None
        assert found.values is not None
        outer = (*queries.shape[:3], found.ids.shape[1])
        numbers = numbers_of(found.ids).reshape(len(rows), -1)
        positions = np.stack([row.positions(each) for row, each in zip(rows, numbers, strict=True)])
        keys, values = (torch.from_numpy(part).view(*outer, part.shape[-1]) for part in (found.keys, found.values))
        return cls(torch.from_numpy(positions).view(outer), keys, values)

    def answer(
        self,
        queries: Float[Tensor, "rows heads q key_dim"],
        k: int,
        asked: Float[Tensor, "rows query_heads q key_dim"],
        check_fresh: Callable[[], None],
    ) -> SearchResult:
        """Return the best k columns for these queries, in the shape in which they were asked and on their device."""
        scores = torch.einsum("rhqd,rhqkd->rhqk", queries, self.keys)
        # In the order of their insertion first, for the sort by score leaves equal ones in theirs.
        positions, places = self.positions.sort(dim=-1, stable=True)
        index = torch.arange(positions.numel(), dtype=torch.int64, device="cpu").view(positions.shape)
        index = index.gather(-1, places)
        best = ranked(scores.gather(-1, places), positions, index, k, null=positions.numel())
        outer = (*asked.shape[:3], k)
        keys, values = (_read(part, best.places).reshape(*outer, part.shape[-1]) for part in (self.keys, self.values))
        entries = FetchedEntries(sent(keys, asked.device), sent(values, asked.device), check_fresh)
        return SearchResult(
            sent(best.scores.reshape(outer), asked.device), sent(best.positions.reshape(outer), asked.device), entries
        )


def _read(vectors: Tensor, places: Int[Tensor, "rows heads q k"]) -> Float[Tensor, "rows heads q k dim"]:
    """Read vectors by their place in all columns; the place behind the last one reads zeros."""
    flat = vectors.reshape(-1, vectors.shape[-1])
    return torch.cat([flat, flat.new_zeros(1, vectors.shape[-1])])[places]
