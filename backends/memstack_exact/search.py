"""Exact nearest neighbours by matrix product: the default and the reference."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from pydantic import PositiveInt, model_validator
from torch import Tensor

from memstack import IndexedMemory, MemoryShape
from memstack.store import Scored
from memstack_exact.choice import FirstPassName, choose_first_pass, first_pass_bytes


class ExactMemory(IndexedMemory):
    """Scores every live key against every query. There is no index: adding and forgetting cost nothing, or with an
    8-bit first pass next to nothing."""

    exact = True
    in_order = True

    class Options(IndexedMemory.Options):
        block: PositiveInt | None = None
        """Scores held at once without a first pass; by default 1M on a CPU (4 MB) and 256M elsewhere."""
        first_pass: FirstPassName = "auto"
        """``int8`` scores all keys in 8 bits first and then, in full, those that may be among the best: still exact.
        On a CPU it takes what the processor has (AVX-512 VNNI, AVX-VNNI or AVX2; ARM's i8mm or dot product; else plain
        C++), is compiled in seconds at its first use if the package came without, and keeps a copy of the keys in a
        byte per dimension and 3 bytes more per entry, but of a store in int8, which is such a copy, only 1 byte per
        entry; ``auto`` takes it where it runs. On a GPU (pip install
        'memstack[gpu]') ``int8`` and ``bfloat16`` are Triton kernels, which keep a copy of the keys so rounded, unless
        the store is of bfloat16 itself, and 12 or 8 bytes more per entry; ``auto`` takes ``bfloat16`` for a capacity of
        32,768 and more, once it has proved right on the device at hand."""

        @model_validator(mode="after")
        def _in_full(self) -> "ExactMemory.Options":
            on_cpu = torch.device(self.device).type == "cpu"
            if self.first_pass not in ("auto", "none") and self.dtype == "int8" and not on_cpu:
                raise ValueError(
                    f"first_pass = '{self.first_pass}' on {self.device} re-scores keys in full, which dtype = 'int8' "
                    "has not: drop one"
                )
            return self

    options: Options

    def __init__(self, shape: MemoryShape, options: Options | None = None) -> None:
        super().__init__(shape, options)
        self.first_pass = choose_first_pass(self.options.first_pass, shape, self.options)

    def __getstate__(self) -> Any:
        state = super().__getstate__()
        return state | {"first_pass": None} if isinstance(state, dict) else state

    def __setstate__(self, state: Any) -> None:
        """A copy chooses its first pass anew, for it may be on another machine."""
        super().__setstate__(state)
        self.first_pass = choose_first_pass(self.options.first_pass, self.shape, self.options)
        if self.first_pass is not None:
            for row, n in enumerate(self.lengths.tolist()):
                keys = self.stored_keys[row : row + 1, :, :n].to(self.dtype)
                self.first_pass.write(
                    torch.tensor([row], dtype=torch.int64, device="cpu"),
                    torch.arange(n, dtype=torch.int64, device="cpu")[None],
                    keys,
                )

    @classmethod
    def index_bytes(cls, shape: MemoryShape, options: Options) -> int:
        return first_pass_bytes(options.first_pass, shape, options)

    def index_add(
        self, rows: Int[Tensor, " rows_"], slots: Int[Tensor, "rows_ n"], keys: Float[Tensor, "rows_ heads n key_dim"]
    ) -> None:
        if self.first_pass is not None:
            self.first_pass.write(rows, slots, keys)

    def index_forget(self, rows: Bool[Tensor, " rows"]) -> None:
        pass  # only slots within a row's length are searched

    def index_search(
        self, queries: Float[Tensor, "rows heads q key_dim"], k: int
    ) -> Int[Tensor, "rows heads q candidates"] | Scored:
        if self.first_pass is not None:
            slots = self.first_pass.search(self.stored_keys, self.written, queries, k)
            if slots is not None:
                return slots
        return self.nearest_slots(queries, k, block=self.options.block).sort(-1).values
