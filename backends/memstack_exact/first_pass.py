"""The protocol between exact search and what scores all keys roughly first, so that few of them are scored in full."""

from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor

from memstack import MemoryShape, Quantised
from memstack.store import Scored


class FirstPass(Protocol):
    """Rounded copies of all memories' keys, by slot, from which the slots of the best are found; no key is missed."""

    def write(
        self, rows: Int[Tensor, " rows_"], slots: Int[Tensor, "rows_ n"], keys: Float[Tensor, "rows_ heads n key_dim"]
    ) -> None:
        """Round keys and keep them at these slots of these rows, in all heads alike.

        ``rows`` and ``slots`` are on the CPU, the keys where the store is, in its dtype.
        """
        ...

    def search(
        self,
        keys: Float[Tensor, "rows heads capacity key_dim"] | Quantised,
        written: Int[Tensor, " rows"],
        queries: Float[Tensor, "rows heads q key_dim"],
        k: int,
    ) -> Int[Tensor, "rows heads q candidates"] | Scored | None:
        """Return slots, among them those of the k best of each row's keys; None if these queries bound no score.

        Slots ascend and none comes twice, unless they come with their scores; -1, anywhere, is no slot. ``keys`` are
        the ring that was written to, in its dtype, and ``written`` counts how many keys each row was given since its
        last reset, on the CPU; queries are in float32.
        """
        ...

    def bytes_of(self, shape: MemoryShape) -> int:
        """Return the bytes that one of this kind keeps for memories of this shape, which is not made."""
        ...
