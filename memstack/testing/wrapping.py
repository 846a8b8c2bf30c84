"""check_wrapper: what wraps a memory passes on its verbs, all they are given, and its facts."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from memstack.contract.entries import FetchedEntries
from memstack.contract.memory import Memory
from memstack.contract.result import SearchResult
from memstack.contract.shape import MemoryShape
from memstack.contract.state import new_state
from memstack.contract.validation import Padded
from memstack.testing.assertions import ensure

SHAPE = MemoryShape(rows=2, heads=1, key_dim=2, value_dim=3, capacity=4)


class Unusual(Memory):
    """A memory whose facts are unlike any default, and which notes what it is asked; it stores nothing."""

    exact = True
    device = torch.device("meta")

    def __init__(self) -> None:
        self.shape = SHAPE
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    def add(self, keys: Tensor, values: Tensor, lengths: Tensor | None = None, *, padded: Padded = "right") -> None:
        self.asked.append(("add", (keys, values, lengths, padded)))

    def search(self, queries: Tensor, k: int) -> SearchResult:
        self.asked.append(("search", (queries, k)))
        return self._nothing(queries, k)

    def search_exactly(self, queries: Tensor, k: int) -> SearchResult:
        self.asked.append(("search_exactly", (queries, k)))
        return self._nothing(queries, k)

    def reset(self, rows: Tensor | None = None) -> None:
        self.asked.append(("reset", (rows,)))

    def select(self, rows: Tensor) -> None:
        self.asked.append(("select", (rows,)))

    @property
    def lengths(self) -> Tensor:
        return torch.tensor([0, 0], dtype=torch.int64, device="cpu")

    @property
    def written(self) -> Tensor:
        return torch.tensor([7, 9], dtype=torch.int64, device="cpu")

    def state_dict(self) -> dict[str, Tensor]:
        return new_state(
            SHAPE,
            torch.zeros(2, 1, 4, 2, dtype=torch.float32, device="cpu"),
            torch.zeros(2, 1, 4, 3, dtype=torch.float32, device="cpu"),
            torch.tensor([7, 9], dtype=torch.int64, device="cpu"),
        )

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.asked.append(("load_state_dict", (state,)))

    def _nothing(self, queries: Tensor, k: int) -> SearchResult:
        outer = (*queries.shape[:3], k)
        entries = FetchedEntries(
            torch.zeros(*outer, 2, dtype=torch.float32, device="cpu"),
            torch.zeros(*outer, 3, dtype=torch.float32, device="cpu"),
            lambda: None,
        )
        return SearchResult(
            torch.full(outer, -torch.inf, dtype=torch.float32, device="cpu"),
            torch.full(outer, -1, dtype=torch.int64, device="cpu"),
            entries,
        )


def check_wrapper(wrap: Callable[[Memory], Memory]) -> None:
    """Raise AssertionError unless what ``wrap`` makes of a memory says the facts and passes on the verbs of it."""
    inside = Unusual()
    wrapped = wrap(inside)
    for fact in ("shape", "device", "exact"):
        said, true = getattr(wrapped, fact), getattr(inside, fact)
        ensure(said == true, f"the wrapper's {fact} is {said}, the memory inside says {true}")
    for count in ("lengths", "written"):
        said, true = getattr(wrapped, count).tolist(), getattr(inside, count).tolist()
        ensure(said == true, f"the wrapper's {count} are {said}, the memory inside says {true}")
    keys, values, lengths = (
        torch.ones(2, 1, 3, 2, dtype=torch.float32, device="cpu"),
        torch.ones(2, 1, 3, 3, dtype=torch.float32, device="cpu"),
        torch.tensor([1, 3], dtype=torch.int64, device="cpu"),
    )
    wrapped.add(keys, values)
    wrapped.add(keys, values, lengths, padded="left")
    wrapped.search(keys, 2)
    wrapped.search_exactly(keys, 2)
    wrapped.reset(rows := torch.tensor([True, False], dtype=torch.bool, device="cpu"))
    wrapped.select(order := torch.tensor([1, 0], dtype=torch.int64, device="cpu"))
    wrapped.load_state_dict(state := wrapped.state_dict())
    expected = [
        ("add", (keys, values, None, "right")),
        ("add", (keys, values, lengths, "left")),
        ("search", (keys, 2)),
        ("search_exactly", (keys, 2)),
        ("reset", (rows,)),
        ("select", (order,)),
        ("load_state_dict", (state,)),
    ]
    verbs = [verb for verb, _ in inside.asked]
    ensure(verbs == [verb for verb, _ in expected], f"the memory inside was asked {', '.join(verbs)}")
    for (verb, came), (_, given) in zip(inside.asked, expected, strict=True):
        ensure(all(map(_same, came, given)), f"{verb} was passed on with other arguments than were given")


def _same(came: object, given: object) -> bool:
    """Tensors have to be the very ones that were given."""
    return came is given if isinstance(given, Tensor) else came == given
