"""A memory with its own storage: what a backend that does not build on IndexedMemory has to write."""

from collections.abc import Mapping

import torch
from torch import Tensor

from memstack import FetchedEntries, Memory, MemoryShape, NonFiniteError, SearchResult, ShapeError, StaleResultError
from memstack.contract.validation import expect
from memstack.store.indexed import check_state
from memstack.testing import Oracle


class ListMemory(Memory):
    """Keeps Python lists and sends the found entries along with each answer, as a remote store would."""

    def __init__(self, shape: MemoryShape) -> None:
        self.shape = shape
        self.held = Oracle(shape)
        self.changes = 0

    @property
    def lengths(self) -> Tensor:
        return torch.tensor(self.held.lengths)

    def add(self, keys: Tensor, values: Tensor) -> None:
        shape = self.shape
        expect("keys", keys, rows=shape.rows, heads=shape.heads, n=None, key_dim=shape.key_dim)
        expect("values", values, rows=shape.rows, heads=shape.heads, n=keys.shape[2], value_dim=shape.value_dim)
        if not bool(keys.isfinite().all()):
            raise NonFiniteError("keys should be finite")
        self.held.add(keys.detach(), values.detach())
        self.changes += 1

    def search(self, queries: Tensor, k: int) -> SearchResult:
        shape = self.shape
        expect("queries", queries, rows=shape.rows, query_heads=None, q=None, key_dim=shape.key_dim)
        if queries.shape[1] == 0 or queries.shape[1] % shape.heads or k < 1:
            raise ShapeError("query_heads should be a multiple of heads, and k at least 1")
        outer, group = tuple(queries.shape[:3]), queries.shape[1] // shape.heads
        scores, positions = torch.full((*outer, k), -torch.inf), torch.full((*outer, k), -1)
        keys, values = torch.zeros(*outer, k, shape.key_dim), torch.zeros(*outer, k, shape.value_dim)
        for row, query_head, q in torch.cartesian_prod(*map(torch.arange, outer)).tolist() if queries.numel() else ():
            query, head = queries[row, query_head, q], query_head // group
            best = [] if bool(query.isnan().any()) else self.held.search(query.tolist(), row, head, k)
            for column, (score, position) in enumerate(best):
                place = (row, query_head, q, column)
                entry = self.held.find(row, head, position)
                assert entry is not None
                scores[place], positions[place] = score, position
                keys[place], values[place] = torch.tensor(entry.key), torch.tensor(entry.value)
        then = self.changes

        def check_fresh() -> None:
            if self.changes != then:
                raise StaleResultError("the memory has changed since this search")

        return SearchResult(scores, positions, FetchedEntries(keys, values, check_fresh))

    def reset(self, rows: Tensor | None = None) -> None:
        rows = torch.ones(self.shape.rows, dtype=torch.bool) if rows is None else rows
        if rows.dtype != torch.bool or tuple(rows.shape) != (self.shape.rows,):
            raise ShapeError("rows should be a mask")
        self.held.reset(rows.tolist())
        self.changes += 1

    def state_dict(self) -> dict[str, Tensor]:
        return self.held.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        check_state(state, self.shape)
        self.held, self.changes = Oracle(self.shape), self.changes + 1
        written = state["written"].tolist()
        longest = state["keys"].shape[2]
        for row, count in enumerate(written):
            n = min(count, longest)
            one = Oracle(MemoryShape(**{**vars(self.shape), "rows": 1}))
            one.written = [count - n]
            one.add(state["keys"][row : row + 1, :, :n], state["values"][row : row + 1, :, :n])
            self.held.entries[row], self.held.written[row] = one.entries[0], count
