"""The contract: what a memory is asked and answers. Axes: rows, heads, n, q, k, key_dim, value_dim, capacity."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import count
from typing import Any, Self
from weakref import WeakValueDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memstack.contract.result import SearchResult
from memstack.contract.shape import MemoryShape

_NUMBERS = count()
MEMORIES: WeakValueDictionary[int, "Memory"] = WeakValueDictionary()
"""Every memory there is, by its number."""


class Memory(ABC):
    """Many independent first-in-first-out stores of (key, value) pairs behind one object, searched by inner product.

    Implements the external memory of Memorizing Transformers (arXiv 2203.08913, section 3): each row (a document of
    the batch) and each head has a store of its own; nothing in it is differentiable; the oldest entries leave first.
    """

    shape: MemoryShape
    number: Int[Tensor, ""]
    """What ``memstack.search`` and compiled code know this memory by; on the CPU."""

    def __new__(cls, *args: Any, **options: Any) -> Self:
        memory = super().__new__(cls)
        with torch.inference_mode(False):
            memory.number = torch.tensor(next(_NUMBERS), device="cpu")
        MEMORIES[int(memory.number)] = memory
        return memory

    def __getstate__(self) -> dict[str, Any]:
        """A copy has a number of its own."""
        return {name: value for name, value in vars(self).items() if name != "number"}

    @abstractmethod
    def add(self, keys: Float[Tensor, "rows heads n key_dim"], values: Float[Tensor, "rows heads n value_dim"]) -> None:
        """Append n pairs to every memory; beyond ``capacity`` the oldest ones leave.

        Raises ShapeError or NonFiniteError before anything is written. The tensors are copied and detached.
        """

    @abstractmethod
    def search(self, queries: Float[Tensor, "rows query_heads q key_dim"], k: int) -> SearchResult:
        """Find, for each query, the k stored keys of its row and head with the largest inner products.

        ``query_heads`` is a multiple of ``heads``; consecutive query heads share a memory head (grouped queries).
        ``k`` may exceed what is stored. A query that is NaN finds nothing.
        """

    @abstractmethod
    def reset(self, rows: Bool[Tensor, " rows"] | None = None) -> None:
        """Forget everything stored for the rows that are True (all rows by default)."""

    @property
    @abstractmethod
    def lengths(self) -> Int[Tensor, " rows"]:
        """How many live entries each memory of a row holds, at most ``capacity``."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return the data, never the index, in a form that any backend of the same shape can load.

        ``keys`` and ``values`` are (rows, heads, n, dim) with n the longest row's live entries, oldest first and padded
        with zeros at the right; ``written`` (rows,) counts insertions since the last reset; ``shape`` holds
        MemoryShape's five numbers in order. Safe to write with safetensors.
        """

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace everything stored by a saved state; raises StateError, changing nothing, if it does not fit."""
