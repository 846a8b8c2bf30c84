"""RecallProbe: how many of the true neighbours a memory finds, measured while it is used."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from memstack.contract.memory import Memory
from memstack.contract.metrics import attention_mass_recall_by_score, recall_by_score
from memstack.contract.result import SearchResult
from memstack.wrappers.base import MemoryWrapper


class RecallWarning(UserWarning):
    """A memory finds fewer of the true neighbours than the floor that was set for it."""


@dataclass(frozen=True)
class Probed:
    """What one compared search was worth."""

    recall: float
    """Fraction of the true neighbours found; an entry as good as the last of them counts."""
    attention_mass_recall: float
    """The same, each neighbour weighted by its softmax weight."""
    age: float
    """How many entries ago what was found had been added, on average."""
    search: int = 0
    """Which of the memory's searches it was."""
    neighbours: int = 0
    """True neighbours of which the recall is a fraction."""
    queries: int = 0
    """Queries over which the attention-mass recall is the mean: those that have a neighbour."""
    found: int = 0
    """Entries over which the age is the mean."""


class RecallProbe(MemoryWrapper):
    """Compares every ``every``-th search with exact search over the same entries, for up to ``sampled`` of its queries.

    Nothing is stored twice: the truth is searched in the entries of the memory inside. Where recall falls below
    ``floor`` it warns (RecallWarning), once until one is good again; with ``below="fallback"`` it also answers by exact
    search until then.
    ``scale`` returns what the attention multiplies scores with before its softmax, a number or (query_heads, 1, 1).
    An ``every`` of 0 compares none.
    """

    def __init__(
        self,
        memory: Memory,
        every: int = 1,
        *,
        sampled: int = 64,
        floor: float = 0.0,
        below: Literal["warn", "fallback"] = "warn",
        scale: Callable[[], Tensor | float] = lambda: 1.0,
    ) -> None:
        super().__init__(memory)
        self.every, self.sampled, self.floor, self.below, self.scale = every, sampled, floor, below, scale
        self._low = False
        self._measured: list[Probed] = []
        self._searches = 0

    @property
    def fallen_back(self) -> bool:
        """True while searches are answered exactly, for the last comparison was below the floor."""
        return self._low and self.below == "fallback"

    def take(self) -> list[Probed]:
        """Return what was measured since the last call."""
        taken, self._measured = self._measured, []
        return taken

    def search(self, queries: Tensor, k: int) -> SearchResult:
        due = self.every > 0 and self._searches % self.every == 0 and queries.numel() > 0
        self._searches += 1
        if self.fallen_back and not due:
            return self.memory.search_exactly(queries, k)
        found = super().search(queries, k)
        # Nothing is stored at a document's start: such a search would count as a perfect one.
        if not due or not bool(self.lengths.any()):
            return found
        self._compare(found, queries, k)
        return self.memory.search_exactly(queries, k) if self.fallen_back else found

    def _compare(self, found: SearchResult, queries: Tensor, k: int) -> None:
        sample = (
            torch.linspace(
                0, queries.shape[2] - 1, min(self.sampled, queries.shape[2]), dtype=torch.float32, device="cpu"
            )
            .long()
            .to(queries.device)
        )
        truth = self.memory.search_exactly(queries[:, :, sample], k)
        answer = replace(found, scores=found.scores[:, :, sample], positions=found.positions[:, :, sample])
        written = self.written.to(queries.device)
        age = (written[:, None, None, None] - answer.positions)[answer.mask]
        probed = Probed(
            recall_by_score(answer, truth),
            attention_mass_recall_by_score(answer, truth, self.scale()),
            float(age.double().mean()) if age.numel() else 0.0,
            search=self._searches,
            neighbours=int(truth.mask.sum()),
            queries=int(truth.mask.any(-1).sum()),
            found=age.numel(),
        )
        self._measured.append(probed)
        self._judge(probed.recall)

    def _judge(self, recall: float) -> None:
        was_low, self._low = self._low, recall < self.floor
        if self._low and not was_low:
            then = "searching exactly until it recovers" if self.below == "fallback" else "going on with it"
            warnings.warn(
                f"the memory's recall is {recall:.3f}, below the floor of {self.floor:.3f}: {then}; "
                "a backend's options can buy recall for time",
                RecallWarning,
                stacklevel=4,
            )
