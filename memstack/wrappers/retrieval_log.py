"""RetrievalLog: which entries a memory's searches found, and the weight that the attention gave to each."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxtyping import Float, Int
from torch import Tensor

from memstack.contract.entries import Entries
from memstack.contract.memory import Memory
from memstack.contract.result import SearchResult
from memstack.wrappers.base import MemoryWrapper


@dataclass(frozen=True, eq=False)
class Retrieved:
    """What one search found and what became of it."""

    positions: Int[Tensor, "rows query_heads q k"]
    """As in ``SearchResult``: how many entries the row had been given before this one; -1 where nothing was found."""
    weights: Float[Tensor, "rows query_heads q k"]
    """With which the found values were mixed; they say nothing where nothing was found."""


class RetrievalLog(MemoryWrapper):
    """Keeps what every search found and how its values were mixed, until it is taken; changes no answer.

    The weights are those that the attention itself hands to ``SearchResult.mix``, so that whatever it makes of the
    scores (a scale, a bias, the age, a choice among more candidates) is in them. How much of the whole attention the
    memory had is the attention's to tell: ``Attended.share``. Copies nothing: take often, or it grows.
    """

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        self._retrieved: list[Retrieved] = []

    def take(self) -> list[Retrieved]:
        """Return what was retrieved since the last call, in order."""
        taken, self._retrieved = self._retrieved, []
        return taken

    def search(self, queries: Tensor, k: int) -> SearchResult:
        return self._logged(super().search(queries, k))

    def search_exactly(self, queries: Tensor, k: int) -> SearchResult:
        """Answer by exact search over the same entries, and keep what is made of it as well."""
        return self._logged(super().search_exactly(queries, k))

    def _logged(self, found: SearchResult) -> SearchResult:
        return replace(found, entries=_LoggedEntries(found.entries, found.positions, self._keep))

    def _keep(self, retrieved: Retrieved) -> None:
        self._retrieved.append(retrieved)


class _LoggedEntries(Entries):
    """Other entries, which tell with what weights they are mixed."""

    def __init__(self, entries: Entries, positions: Tensor, keep: Callable[[Retrieved], None]) -> None:
        self._entries, self._positions, self._keep = entries, positions, keep

    def keys(self) -> Tensor:
        return self._entries.keys()

    def values(self) -> Tensor:
        return self._entries.values()

    def dot(self, queries: Tensor) -> Tensor:
        return self._entries.dot(queries)

    def mix(self, weights: Tensor) -> Tensor:
        mixed = self._entries.mix(weights)
        self._keep(Retrieved(self._positions, weights.detach()))
        return mixed

    def mix_keys(self, weights: Tensor) -> Tensor:
        return self._entries.mix_keys(weights)

    def dot_values(self, operand: Tensor) -> Tensor:
        return self._entries.dot_values(operand)

    def take(self, columns: Tensor, k: int) -> Entries:
        return _LoggedEntries(self._entries.take(columns, k), self._positions.gather(-1, columns), self._keep)

    def check_fresh(self) -> None:
        self._entries.check_fresh()
