"""Exact nearest neighbours by matrix product: the default and the reference."""

import logging
from functools import cache
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor

from memstack import BackendUnavailableError, IndexedMemory, MemoryShape

if TYPE_CHECKING:
    from memstack_exact.cpu.first_pass import FirstPass
    from memstack_exact.gpu.first_pass import GpuFirstPass


class ExactMemory(IndexedMemory):
    """Scores every live key against every query. There is no index: adding and forgetting cost nothing, or with an
    8-bit first pass next to nothing."""

    exact = True
    in_order = True

    class Options(IndexedMemory.Options):
        block: PositiveInt | None = None
        """Scores held at once without a first pass; by default 1M on a CPU (4 MB) and 256M elsewhere."""
        first_pass: Literal["auto", "none", "int8", "bfloat16"] = "auto"
        """``int8`` scores all keys in 8 bits first and then, in full, those that may be among the best: still exact.
        On a CPU it needs AVX-512 VNNI, is compiled in seconds at its first use on a machine, and keeps a copy of the
        keys in a byte per dimension and 3 bytes more per entry; ``auto`` takes it where it runs. On a GPU (pip install
        'memstack[gpu]') ``int8`` and ``bfloat16`` are Triton kernels, which keep a copy of the keys so rounded and 12
        or 8 bytes more per entry; they have not been timed on one yet, so ``auto`` is ``none`` there."""

        @model_validator(mode="after")
        def _in_full(self) -> "ExactMemory.Options":
            if self.first_pass not in ("auto", "none") and self.dtype == "int8":
                raise ValueError(
                    f"first_pass = '{self.first_pass}' re-scores keys in full, which dtype = 'int8' has not: drop one"
                )
            return self

    def __init__(self, shape: MemoryShape, options: Options | None = None) -> None:
        options = options or self.Options()
        super().__init__(shape, options)
        self.block = options.block
        self.first_pass, self.why_no_first_pass = _first_pass(shape, options)
        """What scores all keys roughly first, or None; and why it is none."""

    def index_add(self, rows: Tensor, slots: Tensor, keys: Tensor) -> None:
        if self.first_pass is not None:
            self.first_pass.write(rows, slots, keys)

    def index_forget(self, rows: Tensor) -> None:
        pass  # only slots within a row's length are searched

    def index_search(self, queries: Tensor, k: int) -> Tensor:
        keys, slots = self.stored_keys, None
        if self.first_pass is not None and isinstance(keys, Tensor):
            slots = self.first_pass.search(keys, self.written, queries, k)
        if slots is not None and self.device.type == "cpu":
            return slots  # in order already
        return (self.nearest_slots(queries, k, block=self.block) if slots is None else slots).sort(-1).values


def _first_pass(shape: MemoryShape, options: ExactMemory.Options) -> tuple["FirstPass | GpuFirstPass | None", str]:
    """The first pass that the options ask for; BackendUnavailableError if it cannot be had and was not left to us."""
    device, name = torch.device(options.device), options.first_pass
    if name == "none":
        return None, "first_pass = 'none'"
    if name == "auto" and options.dtype == "int8":
        return None, "keys stored in 8 bits cannot be scored again in full"
    if name == "auto" and device.type != "cpu":
        return None, f"on {device} a first pass has to be chosen"
    try:
        if device.type == "cpu":
            if name == "bfloat16":
                raise BackendUnavailableError("first_pass = 'bfloat16' is for a store on a GPU: on a CPU it is 'int8'")
            from memstack_exact.cpu.first_pass import FirstPass  # compiles

            return FirstPass(shape, options), ""
        from memstack_exact.gpu.first_pass import GpuFirstPass

        precision: Literal["int8", "bfloat16"] = "bfloat16" if name == "bfloat16" else "int8"
        return GpuFirstPass(shape, device, precision, getattr(torch, options.dtype)), ""
    except BackendUnavailableError as error:
        if name != "auto":
            raise
        if error.__cause__ is not None:  # what processor this is nobody can mend
            _say_once(str(error))
        return None, str(error)


@cache
def _say_once(reason: str) -> None:
    logging.getLogger(__name__).warning("exact search does without its 8-bit first pass: %s", reason)
