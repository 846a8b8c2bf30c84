"""Exact nearest neighbours by matrix product: the default and the reference."""

from pydantic import PositiveInt
from torch import Tensor

from memstack import IndexedMemory, MemoryShape


class ExactMemory(IndexedMemory):
    """Scores every live key against every query. There is no index: adding and forgetting cost nothing."""

    class Options(IndexedMemory.Options):
        block: PositiveInt | None = None
        """Scores held at once; by default 1M on a CPU (4 MB, about a core's cache) and 256M elsewhere."""

    def __init__(self, shape: MemoryShape, options: Options | None = None) -> None:
        options = options or self.Options()
        super().__init__(shape, options)
        self.block = options.block

    def index_add(self, rows: Tensor, slots: Tensor, keys: Tensor) -> None:
        pass  # the store itself is what is searched

    def index_forget(self, rows: Tensor) -> None:
        pass

    def index_search(self, queries: Tensor, k: int) -> Tensor:
        return self.nearest_slots(queries, k, block=self.block)
