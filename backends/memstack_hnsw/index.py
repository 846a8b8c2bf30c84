"""Hierarchical navigable small world graphs (Malkov and Yashunin, arXiv 1603.09320), one per row and head."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import hnswlib
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import PositiveInt
from torch import Tensor

from memstack import IndexedMemory, MemoryShape


class HNSWMemory(IndexedMemory):
    """A graph per memory whose labels are slots: writing a slot again moves its node, which is what FIFO needs.

    Building is the price: some 20 to 46 ms for 512 keys, per memory and core. Graphs are made at a row's first add, so
    that empty rows cost nothing; independent graphs are filled and searched in parallel threads.
    """

    class Options(IndexedMemory.Options):
        m: PositiveInt = 16
        """Links per node (M)."""
        ef_construction: PositiveInt = 200
        """Candidates looked at while a node is linked; more is slower to build and more accurate."""
        ef_search: PositiveInt = 64
        """Candidates looked at per query, never fewer than k; more is slower and more accurate."""
        seed: int = 0
        """Seeds the levels of the graph."""
        threads: PositiveInt | None = None
        """Graphs worked on at once; by default as many as torch uses threads."""

    def __init__(self, shape: MemoryShape, options: Options | None = None) -> None:
        options = options or self.Options()
        super().__init__(shape, options)
        self.options = options
        self._graphs: dict[tuple[int, int], Any] = {}
        self._pool = ThreadPoolExecutor(options.threads or torch.get_num_threads(), "memstack-hnsw")

    def index_add(
        self, rows: Int[Tensor, " some"], slots: Int[Tensor, "some n"], keys: Float[Tensor, "some heads n key_dim"]
    ) -> None:
        data, labels = _to_numpy(keys), slots.numpy()

        def add(place: int, head: int) -> None:
            row = int(rows[place])
            graph = self._graphs.get((row, head)) or self._new_graph(row, head)
            graph.add_items(data[place, head], labels[place], num_threads=1)

        self._everywhere(add, len(rows))

    def index_search(
        self, queries: Float[Tensor, "rows heads q key_dim"], k: int
    ) -> Int[Tensor, "rows heads q candidates"]:
        data = np.nan_to_num(_to_numpy(queries))
        slots = np.full((*data.shape[:3], k), -1, dtype=np.int64)

        def search(row: int, head: int) -> None:
            graph = self._graphs.get((row, head))
            if graph is not None:
                graph.set_ef(max(self.options.ef_search, k))
                found = _nearest(graph, data[row, head], min(k, graph.get_current_count()))
                slots[row, head, :, : found.shape[1]] = found

        self._everywhere(search, self.shape.rows)
        return torch.from_numpy(slots).to(self.device)

    def index_forget(self, rows: Bool[Tensor, " rows"]) -> None:
        for row, head in list(self._graphs):
            if rows[row]:
                del self._graphs[row, head]

    def _new_graph(self, row: int, head: int) -> Any:
        graph = hnswlib.Index(space="ip", dim=self.shape.key_dim)
        graph.init_index(
            self.shape.capacity,
            M=self.options.m,
            ef_construction=self.options.ef_construction,
            random_seed=self.options.seed,
        )
        self._graphs[row, head] = graph
        return graph

    def _everywhere(self, work: Callable[[int, int], None], rows: int) -> None:
        """Run ``work`` for every row and head; the first error is raised once all have ended."""
        pairs = itertools.product(range(rows), range(self.shape.heads))
        futures = [self._pool.submit(work, *pair) for pair in pairs]
        wait(futures)
        for future in futures:
            future.result()


def _nearest(graph: Any, queries: np.ndarray[Any, Any], k: int) -> np.ndarray[Any, Any]:
    """The slots of up to k nearest keys. hnswlib raises where its graph cannot reach k: then it looks further."""
    count = graph.get_current_count()
    while k:
        try:
            return graph.knn_query(queries, k=k, num_threads=1)[0].astype(np.int64)
        except RuntimeError as error:
            if "ef or M is too small" not in str(error):
                raise
        if graph.ef < count:
            graph.set_ef(min(2 * graph.ef, count))
        else:
            k //= 2  # the graph has come apart: fewer than k keys can be reached at all
    return np.empty((len(queries), 0), dtype=np.int64)


def _to_numpy(tensor: Tensor) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(tensor.to("cpu", torch.float32).numpy())
