"""Exact nearest neighbours by matrix product: the default and the reference."""

from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt, model_validator
from torch import Tensor

from memstack import BackendUnavailableError, IndexedMemory, MemoryShape

if TYPE_CHECKING:
    from memstack_exact.first_pass import FirstPass


class ExactMemory(IndexedMemory):
    """Scores every live key against every query. There is no index: adding and forgetting cost nothing, or with an
    8-bit first pass next to nothing."""

    class Options(IndexedMemory.Options):
        block: PositiveInt | None = None
        """Scores held at once without a first pass; by default 1M on a CPU (4 MB) and 256M elsewhere."""
        first_pass: Literal["auto", "none", "int8"] = "auto"
        """``int8`` scores all keys in 8 bits first and then, in full, those that may be among the best: still exact.
        For a store on a CPU with AVX-512 VNNI; compiled in seconds at its first use on a machine. It keeps a copy
        of the keys in a byte per dimension and 3 bytes more per entry. ``auto`` takes it where it runs."""

        @model_validator(mode="after")
        def _in_full(self) -> "ExactMemory.Options":
            if self.first_pass == "int8" and self.dtype == "int8":
                raise ValueError("first_pass = 'int8' re-scores keys in full, which dtype = 'int8' has not: drop one")
            return self

    def __init__(self, shape: MemoryShape, options: Options | None = None) -> None:
        options = options or self.Options()
        super().__init__(shape, options)
        self.block = options.block
        self.first_pass: FirstPass | None = None
        self.why_no_first_pass = "first_pass = 'none'"
        """Why keys are not scored in 8 bits first; empty if they are."""
        if options.first_pass == "auto" and options.dtype == "int8":
            self.why_no_first_pass = "keys stored in 8 bits cannot be scored again in full"
        elif options.first_pass != "none":
            from memstack_exact import first_pass  # compiles

            try:
                self.first_pass = first_pass.FirstPass(shape, self.device)
                self.why_no_first_pass = ""
            except BackendUnavailableError as error:
                if options.first_pass != "auto":
                    raise
                self.why_no_first_pass = str(error)

    def index_add(self, rows: Tensor, slots: Tensor, keys: Tensor) -> None:
        if self.first_pass is not None:
            self.first_pass.write(rows, slots, keys)

    def index_forget(self, rows: Tensor) -> None:
        pass  # only slots within a row's length are searched

    def index_search(self, queries: Tensor, k: int) -> Tensor:
        keys, slots = self.stored_keys, None
        if self.first_pass is not None and isinstance(keys, Tensor):
            slots = self.first_pass.search(keys, self.written, queries, k)
        return self.nearest_slots(queries, k, block=self.block) if slots is None else slots
