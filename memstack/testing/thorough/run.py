"""Run: a memory side by side with the oracle, while steps are done to it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from memstack.contract.memory import Memory
from memstack.contract.ops import search
from memstack.contract.result import SearchResult
from memstack.contract.shape import MemoryShape
from memstack.contract.validation import Padded
from memstack.plugins.registry import registry
from memstack.testing.assertions import ensure, ensure_identical, ensure_same_answer, ensure_same_state
from memstack.testing.oracle import Oracle
from memstack.testing.thorough.compare import ensure_answer
from memstack.testing.thorough.subject import Subject


@dataclass(frozen=True)
class World:
    """What a history happens to: a memory of this shape with these options."""

    shape: MemoryShape
    options: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def dtype(self) -> str:
        """How the store keeps its numbers, as far as the options say."""
        return str(self.options.get("dtype", "float32"))


class Run:
    """One memory, and what it should hold."""

    def __init__(self, subject: Subject, world: World) -> None:
        self.subject, self.world, self.shape = subject, world, world.shape
        self.memory = self.fresh()
        self.exact = subject.is_exact(self.memory)
        self.oracle = Oracle(world.shape, world.dtype == "int8")

    def fresh(self) -> Memory:
        """Make an empty memory of the same kind."""
        return self.subject.make(self.shape, self.world.options)

    def elsewhere(self) -> Memory:
        """Make an empty memory of another kind: of the first exact backend that is at hand."""
        names = [spec.name for spec in registry().specs() if spec.exact and not (spec.missing() or spec.needs_options)]
        return registry().create(names[0], self.shape) if names else self.fresh()

    def give(
        self, keys: Tensor, values: Tensor, lengths: Sequence[int] | None = None, padded: Padded = "right"
    ) -> None:
        """Add these pairs, of each row all or so many."""
        counts = None if lengths is None else torch.tensor(lengths, dtype=torch.int64, device="cpu")
        self.memory.add(keys, values, counts, padded=padded)
        self.oracle.add(keys, values, lengths, padded)

    def reset(self, rows: Sequence[bool] | None = None) -> None:
        """Forget the rows that are True, or all."""
        self.memory.reset(None if rows is None else torch.tensor(rows, dtype=torch.bool, device="cpu"))
        self.oracle.reset([True] * self.shape.rows if rows is None else rows)

    def select(self, rows: Sequence[int]) -> None:
        """Let each row hold what another one held."""
        self.memory.select(torch.tensor(rows, dtype=torch.int64, device="cpu"))
        self.oracle.select(rows)

    def ask(self, queries: Tensor, k: int) -> tuple[SearchResult, SearchResult]:
        """Ask by both doors and compare the answers with each other and with the oracle."""
        direct, found = self.memory.search(queries, k), search(self.memory, queries, k)
        ensure_same_answer("memstack.search beside memory.search", found, direct)
        ensure_identical("memstack.search beside memory.search: keys", found.keys, direct.keys)
        ensure_identical("memstack.search beside memory.search: values", found.values, direct.values)
        ensure_answer(found, queries.detach(), k, self.oracle, self.exact)
        return direct, found

    def ask_exactly(self, queries: Tensor, k: int) -> None:
        """Ask for an exact search and compare the answer with the oracle."""
        ensure_answer(self.memory.search_exactly(queries, k), queries, k, self.oracle, exact=True)

    def count(self) -> None:
        """Compare the counters with the oracle's."""
        lengths, written = self.memory.lengths.tolist(), self.memory.written.tolist()
        ensure(lengths == self.oracle.lengths, f"lengths should be {self.oracle.lengths}, got {lengths}")
        ensure(written == self.oracle.written, f"written should be {self.oracle.written}, got {written}")

    def look(self) -> None:
        """Compare all that is stored with what the oracle holds."""
        ensure_same_state("the state", self.memory.state_dict(), self.oracle.state_dict())

    @property
    def doors(self) -> tuple[Any, Any]:
        """The two ways to ask."""
        return self.memory.search, partial(search, self.memory)
