"""MemoryWrapper: passes everything on to the memory inside."""

from collections.abc import Mapping

from torch import Tensor

from memstack.contract.memory import Memory
from memstack.contract.result import SearchResult
from memstack.contract.validation import Padded


class MemoryWrapper(Memory):
    """Passes every verb on to the memory inside, and says of itself what that says: its facts are the inner ones."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.shape, self.device, self.exact = memory.shape, memory.device, memory.exact

    def add(self, keys: Tensor, values: Tensor, lengths: Tensor | None = None, *, padded: Padded = "right") -> None:
        self.memory.add(keys, values, lengths, padded=padded)

    def check_add(
        self, keys: Tensor, values: Tensor, lengths: Tensor | None = None, *, padded: Padded = "right"
    ) -> Tensor:
        return self.memory.check_add(keys, values, lengths, padded=padded)

    def search(self, queries: Tensor, k: int) -> SearchResult:
        return self.memory.search(queries, k)

    def search_exactly(self, queries: Tensor, k: int) -> SearchResult:
        return self.memory.search_exactly(queries, k)

    def reset(self, rows: Tensor | None = None) -> None:
        self.memory.reset(rows)

    def select(self, rows: Tensor) -> None:
        self.memory.select(rows)

    @property
    def lengths(self) -> Tensor:
        return self.memory.lengths

    @property
    def written(self) -> Tensor:
        return self.memory.written

    def state_dict(self) -> dict[str, Tensor]:
        return self.memory.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.memory.load_state_dict(state)
