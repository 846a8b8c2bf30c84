"""MemoryWrapper: passes everything on to the memory inside."""

from collections.abc import Mapping

from torch import Tensor

from memstack.contract.ground_truth import true_neighbours
from memstack.contract.memory import Memory
from memstack.contract.result import SearchResult
from memstack.store.indexed import IndexedMemory


class MemoryWrapper(Memory):
    """Passes every verb on to the memory inside."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.shape = memory.shape

    def add(self, keys: Tensor, values: Tensor) -> None:
        self.memory.add(keys, values)

    def search(self, queries: Tensor, k: int) -> SearchResult:
        return self.memory.search(queries, k)

    def reset(self, rows: Tensor | None = None) -> None:
        self.memory.reset(rows)

    @property
    def lengths(self) -> Tensor:
        return self.memory.lengths

    def state_dict(self) -> dict[str, Tensor]:
        return self.memory.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.memory.load_state_dict(state)


def exact_search(memory: Memory, queries: Tensor, k: int) -> SearchResult:
    """Answer by exact search over the entries of any memory, wrapped or not.

    In the store where it is one of memstack's; a memory with a storage of its own has to hand out its state, copied.
    """
    inside = _innermost(memory)
    if isinstance(inside, IndexedMemory):
        return inside.search_exactly(queries, k)
    return true_neighbours(inside, queries, k)


def _innermost(memory: Memory) -> Memory:
    while isinstance(memory, MemoryWrapper):
        memory = memory.memory
    return memory


def written_of(memory: Memory) -> Tensor:
    """How many entries each row has been given since its last reset."""
    inside = _innermost(memory)
    return inside.written if isinstance(inside, IndexedMemory) else inside.state_dict()["written"]
