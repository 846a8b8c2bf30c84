"""The contract: what a memory is asked and answers. Axes: rows, heads, n, q, k, key_dim, value_dim, capacity."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memstack.contract.copying import Copied
from memstack.contract.ground_truth import nearest_in_state
from memstack.contract.handles import Handled
from memstack.contract.result import SearchResult
from memstack.contract.shape import MemoryShape
from memstack.contract.state import select_rows
from memstack.contract.validation import Padded, check_add, check_select


class Memory(Handled, Copied, ABC):
    """Many independent first-in-first-out stores of (key, value) pairs behind one object, searched by inner product.

    Implements the external memory of Memorizing Transformers (arXiv 2203.08913, section 3): each row (a document of
    the batch) and each head has a store of its own; nothing in it is differentiable; the oldest entries leave first.
    """

    shape: MemoryShape
    """How many memories there are, and how large they are."""
    device: torch.device = torch.device("cpu")
    """Where the memory works: what lies there need not be moved to be added or searched for."""
    exact: bool = False
    """True if ``search`` finds the true nearest neighbours."""

    @abstractmethod
    def add(
        self,
        keys: Float[Tensor, "rows heads n key_dim"],
        values: Float[Tensor, "rows heads n value_dim"],
        lengths: Int[Tensor, " rows"] | None = None,
        *,
        padded: Padded = "right",
    ) -> None:
        """Append pairs to every memory of a row: all n or, of a ragged batch, the ``lengths`` that are no padding.

        Padding lies at the right of a row's entries, or at the left, and may hold anything. Beyond ``capacity`` the
        oldest entries leave. The tensors are copied and detached. Interrupted at any point, as every
        verb that changes something, it has done all of it or nothing.

        Raises:
            ShapeError: Axes, a dtype or a length do not fit; nothing was written.
            NonFiniteError: A key or a value is NaN or infinite, or would be in the store's dtype; nothing was written.
        """

    def check_add(
        self,
        keys: Float[Tensor, "rows heads n key_dim"],
        values: Float[Tensor, "rows heads n value_dim"],
        lengths: Int[Tensor, " rows"] | None = None,
        *,
        padded: Padded = "right",
    ) -> Int[Tensor, " rows"]:
        """Raise what ``add`` would raise for these, and write nothing; return how many entries each row gets.

        By default as for a store in float32: override it where yours is narrower, so that a bank knows before it writes
        any layer.
        """
        return check_add(self.shape, keys, values, lengths, padded=padded)

    @abstractmethod
    def search(self, queries: Float[Tensor, "rows query_heads q key_dim"], k: int) -> SearchResult:
        """Find, for each query, the k stored keys of its row and head with the largest inner products.

        ``query_heads`` is a multiple of ``heads``; consecutive query heads share a memory head (grouped queries).
        ``k`` may exceed what is stored. A query that is NaN finds nothing. In a model, call ``memstack.search``, which
        compiles.

        Raises:
            ShapeError: Axes or dtype of the queries do not fit, or k is below 1.
        """

    def search_exactly(self, queries: Float[Tensor, "rows query_heads q key_dim"], k: int) -> SearchResult:
        """Answer as exact search over the same entries would: the truth that a recall is measured against.

        By default from a copy of the whole state: override it where the entries are at hand.

        Raises:
            ShapeError: As ``search``.
        """
        return nearest_in_state(self.state_dict(), queries, k)

    @abstractmethod
    def reset(self, rows: Bool[Tensor, " rows"] | None = None) -> None:
        """Forget everything stored for the rows that are True (all rows by default).

        Raises:
            ShapeError: The mask is not bool (rows,); nothing was forgotten.
        """

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Let each row i hold what row ``rows[i]`` held: beams that are reordered, a document that several ask.

        Rows may be named more than once, or not at all: then what they held is forgotten. By default the state is
        loaded anew. For another number of rows see ``memstack.select_rows``.

        Raises:
            ShapeError: The row numbers are not int64 (rows,), or one is not a row; nothing was changed.
        """
        self.load_state_dict(select_rows(self.state_dict(), check_select(self.shape, rows)))

    @property
    @abstractmethod
    def lengths(self) -> Int[Tensor, " rows"]:
        """How many live entries each memory of a row holds, at most ``capacity``."""

    @property
    def written(self) -> Int[Tensor, " rows"]:
        """How many entries each row has been given since its last reset, those that have left included.

        An entry's age is this number less its position. By default read from the state.
        """
        return self.state_dict()["written"]

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return the data, never the index, in a form that any backend of the same shape can load.

        ``keys`` and ``values`` are (rows, heads, n, dim) with n the longest row's live entries, oldest first and padded
        with zeros at the right; ``written`` (rows,) counts insertions since the last reset; ``shape`` holds
        MemoryShape's five numbers in order, ``format`` the number of this format (``memstack.new_state`` puts them
        together). A copy, safe to write with safetensors.
        """

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replace everything stored by a saved state.

        Raises:
            StateError: A part is missing, or of another shape or format; nothing was changed.
            NonFiniteError: A key or a value is NaN or infinite, or would be in the store's dtype; nothing was changed.
        """
