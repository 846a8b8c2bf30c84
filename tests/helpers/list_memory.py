"""A memory with its own storage: what a backend that does not build on IndexedMemory has to write."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor

from memstack import (
    FetchedEntries,
    Memory,
    MemoryShape,
    Padded,
    SearchResult,
    Version,
    check_add,
    check_reset,
    check_search,
    check_state,
)
from memstack.testing import Oracle


class ListMemory(Memory):
    """Keeps Python lists and sends the found entries along with each answer, as a remote store would."""

    exact = True

    def __init__(self, shape: MemoryShape) -> None:
        self.shape = shape
        self.held = Oracle(shape)
        self.version = Version()

    @property
    def lengths(self) -> Tensor:
        return torch.tensor(self.held.lengths)

    def add(self, keys: Tensor, values: Tensor, lengths: Tensor | None = None, *, padded: Padded = "right") -> None:
        counts = check_add(self.shape, keys, values, lengths, padded=padded)
        held = copy.deepcopy(self.held)
        held.add(keys.detach(), values.detach(), counts.tolist(), padded)
        self._hold(held)

    def search(self, queries: Tensor, k: int) -> SearchResult:
        check_search(self.shape, queries, k)
        shape, outer = self.shape, tuple(queries.shape[:3])
        group = queries.shape[1] // shape.heads
        scores, positions = torch.full((*outer, k), -torch.inf), torch.full((*outer, k), -1)
        keys, values = torch.zeros(*outer, k, shape.key_dim), torch.zeros(*outer, k, shape.value_dim)
        for row, query_head, q in product(*map(range, outer)):
            query, head = queries[row, query_head, q], query_head // group
            best = [] if bool(query.isnan().any()) else self.held.search(query.tolist(), row, head, k)
            for column, (score, position) in enumerate(best):
                place = (row, query_head, q, column)
                entry = self.held.find(row, head, position)
                assert entry is not None
                scores[place], positions[place] = score, position
                keys[place], values[place] = torch.tensor(entry.key), torch.tensor(entry.value)
        return SearchResult(scores, positions, FetchedEntries(keys, values, self.version.guard()))

    def reset(self, rows: Tensor | None = None) -> None:
        held = copy.deepcopy(self.held)
        held.reset(check_reset(self.shape, rows).tolist())
        self._hold(held)

    def state_dict(self) -> dict[str, Tensor]:
        return self.held.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        check_state(state, self.shape)
        held = Oracle(self.shape)
        written = state["written"].tolist()
        longest = state["keys"].shape[2]
        for row, count in enumerate(written):
            n = min(count, longest)
            one = Oracle(replace(self.shape, rows=1))
            one.written = [count - n]
            one.add(state["keys"][row : row + 1, :, :n], state["values"][row : row + 1, :, :n])
            held.entries[row], held.written[row] = one.entries[0], count
        self._hold(held)

    def _hold(self, held: Oracle) -> None:
        """By one call: whatever is interrupted, the memory holds what it held before, or all that is new."""
        self.version.bump()
        vars(self.held).update(vars(held))
