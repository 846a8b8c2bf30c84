"""Exact nearest neighbours by matrix product: the default and the reference."""

from typing import Literal, cast

from pydantic import PositiveInt, model_validator
from torch import Tensor

from memstack import IndexedMemory, MemoryShape


class ExactMemory(IndexedMemory):
    """Scores every live key against every query. There is no index: adding and forgetting cost nothing, or with an
    8-bit first pass next to nothing."""

    class Options(IndexedMemory.Options):
        block: PositiveInt | None = None
        """Scores held at once; by default 1M on a CPU (4 MB, about a core's cache) and 256M elsewhere."""
        first_pass: Literal["none", "int8"] = "none"
        """``int8`` scores all keys in 8 bits first and then, in full, those that may be among the best: still exact.
        For a store on a CPU with AVX-512 VNNI; compiled at its first use (pip install 'memstack[fast]'). It keeps a
        copy of the keys in a byte per dimension, and 12 bytes more per entry."""

        @model_validator(mode="after")
        def _in_full(self) -> "ExactMemory.Options":
            if self.first_pass == "int8" and self.dtype == "int8":
                raise ValueError("first_pass = 'int8' re-scores keys in full, which dtype = 'int8' has not: drop one")
            return self

    def __init__(self, shape: MemoryShape, options: Options | None = None) -> None:
        options = options or self.Options()
        super().__init__(shape, options)
        self.block = options.block
        self._first_pass = None
        if options.first_pass == "int8":
            from memstack_exact.first_pass import FirstPass  # compiles

            self._first_pass = FirstPass(shape, self.device)

    def index_add(self, rows: Tensor, slots: Tensor, keys: Tensor) -> None:
        if self._first_pass is not None:
            self._first_pass.write(rows, slots, keys)

    def index_forget(self, rows: Tensor) -> None:
        pass  # only slots within a row's length are searched

    def index_search(self, queries: Tensor, k: int) -> Tensor:
        if self._first_pass is None or not bool(queries.isfinite().all()):
            return self.nearest_slots(queries, k, block=self.block)
        # Options refuse a first pass beside keys in int8.
        return self._first_pass.search(cast(Tensor, self.stored_keys), self.written, queries, k)
