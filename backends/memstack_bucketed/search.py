"""Approximate nearest neighbours by two stages: the best of every bucket, then the best of those (arXiv 2506.04165)."""

from typing import Annotated

from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from memstack import IndexedMemory
from memstack_bucketed.plan import BucketPlan, SearchSize, cheapest_plan, rounded
from memstack_bucketed.two_stages import bucketed_slots

BLOCK, CPU_BLOCK = 1 << 28, 1 << 18  # scores held at once; on a CPU 1 MB of them


class BucketedMemory(IndexedMemory):
    """Scores every live key, keeps the best few of each bucket, and chooses among those.

    There is no index: adding and forgetting cost nothing. Buckets, and how many each keeps, are chosen for each search
    from the entries, the queries and k, by the expected recall and what it costs; where exact search costs no more, as
    with few entries, few queries or a target close to 1, it is exact.
    """

    class Options(IndexedMemory.Options):
        recall_target: Annotated[float, Field(gt=0, lt=1)] = 0.95
        """The least share of the neighbours to expect, wherever in the memory they are; less is faster."""
        block: PositiveInt | None = None
        """Scores held at once, but one of each bucket at least; by default 256K on a CPU (1 MB) and 256M elsewhere."""

    options: Options

    def plan(self, q: int, k: int) -> BucketPlan | None:
        """Return the plan by which q queries of each memory would now be searched for k neighbours; None is exactly."""
        search = SearchSize(int(self.lengths.max()), k, q, self.shape.key_dim)
        return cheapest_plan(rounded(search), self.options.recall_target)

    def index_add(
        self, rows: Int[Tensor, " rows_"], slots: Int[Tensor, "rows_ n"], keys: Float[Tensor, "rows_ heads n key_dim"]
    ) -> None:
        pass  # the store's own keys are searched

    def index_search(
        self, queries: Float[Tensor, "rows heads q key_dim"], k: int
    ) -> Int[Tensor, "rows heads q candidates"]:
        plan = self.plan(queries.shape[2], k)
        if plan is None:
            return self.nearest_slots(queries, k, block=self.options.block)
        block = self.options.block or (CPU_BLOCK if self.device.type == "cpu" else BLOCK)
        return bucketed_slots(self.stored_keys, self.lengths, queries, k, plan, block)

    def index_forget(self, rows: Bool[Tensor, " rows"]) -> None:
        pass  # only slots within a row's length are searched
