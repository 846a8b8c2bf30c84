"""Hierarchical navigable small world graphs (Malkov and Yashunin, arXiv 1603.09320), one per row and head."""

from collections.abc import Callable
from functools import partial

import hnswlib
import numpy as np
from pydantic import Field

from memstack import MemoryShape, PerHeadIndexMemory, ShapeError
from memstack_hnsw.graph import Array, Graph

MOST_ENTRIES = (1 << 30) - 1
ALONG_ONE = 0.02
"""Keys lie along one direction if less of their squared length than this is across it."""


class HNSWMemory(PerHeadIndexMemory):
    """A graph per memory, renewed as its entries leave.

    Building is the price: some 20 to 46 ms for 512 keys, per memory and core, and twice that once the ring is full.
    Then the graphs together have room for three times the ring: about 3 x (4 key_dim + 8 m + 16) bytes per entry.
    """

    class Options(PerHeadIndexMemory.Options):
        m: int = Field(default=16, ge=2, le=512)
        """Links per node (M); with one alone there is no graph."""
        ef_construction: int = Field(default=200, ge=1, lt=1 << 31)
        """Candidates looked at while a node is linked; more is slower to build and more accurate."""
        ef_search: int = Field(default=64, ge=1, lt=1 << 31)
        """Candidates looked at per query, never fewer than k; more is slower and more accurate."""
        seed: int = Field(default=0, ge=0, lt=1 << 31)
        """Seeds the levels of the graph."""

    options: Options

    def __init__(self, shape: MemoryShape, options: Options | None = None) -> None:
        if shape.capacity > MOST_ENTRIES:
            raise ShapeError(f"hnswlib counts up to {2 * MOST_ENTRIES:,} nodes, two for each entry: lower capacity")
        super().__init__(shape, options)

    def build_index(self, keys: Array) -> "HNSWIndex":
        new_graph = partial(_new_graph, self.options, self.shape.key_dim, self.shape.capacity)
        index = HNSWIndex(new_graph, self.options, common_part(keys), self.shape.capacity, self.threads_per_index)
        index.add(np.arange(len(keys)), keys)
        return index


class HNSWIndex:
    """Two generations of graphs over one ring.

    What leaves the ring is marked in the current graph and what comes is added to it, until it has been given twice
    what the ring holds. Meanwhile the next graph is given all that replaces something: by then it holds the whole ring,
    and takes over. So recall stays that of a new graph, no add waits for a rebuilding, and a key costs two insertions,
    where hnswlib's own way of moving a node costs three.
    """

    needs_rebuild = False  # it renews itself, a little at every add

    def __init__(
        self, new_graph: Callable[[], Graph], options: HNSWMemory.Options, common: Array, capacity: int, threads: int
    ) -> None:
        self._new_graph, self._ef_search, self._threads = new_graph, options.ef_search, threads
        self._common, self._capacity = common, capacity
        self._current = new_graph()
        self._next: Graph | None = None
        self._given = 0
        """Keys that the next graph was given."""

    def add(self, slots: Array, keys: Array) -> None:
        keys = keys - self._common
        if len(slots) == self._capacity:
            # Nothing stays. Such a chunk may leave slots out that were never in use, of which the next graph would know
            # nothing when it takes over.
            self._current, self._next, self._given = self._new_graph(), None, 0
        while len(slots):
            n = min(self._capacity - self._given, len(slots))
            replacing = self._current.holds(slots[:n])
            if replacing.any():
                self._next = self._next or self._new_graph()
                self._next.add(slots[:n][replacing], keys[:n][replacing])
                self._given += int(replacing.sum())
            self._current.add(slots[:n], keys[:n])
            if self._next is not None and self._given == self._capacity:
                self._current, self._next, self._given = self._next, None, 0
            slots, keys = slots[n:], keys[n:]

    def search(self, queries: Array, k: int) -> Array:
        return self._current.search(queries, k, self._ef_search, self._threads)


def common_part(keys: Array) -> Array:
    """Return what (n, dim) keys have in common, if they lie along one direction; usually zeros, (dim,).

    A graph by inner products links each of such keys to the longest alone. Without what is common to them they are
    told apart, and rank as before: a query's inner product with it is the same for all.
    """
    mean = keys.mean(0, dtype=np.float64)
    length = float(np.linalg.norm(mean))
    along = float(((keys @ (mean / length if length else mean)) ** 2).mean())
    apart = float((keys.astype(np.float64) ** 2).sum(1).mean()) - along
    return (mean if apart < ALONG_ONE * along else np.zeros_like(mean)).astype(np.float32)


def _new_graph(options: HNSWMemory.Options, dim: int, capacity: int) -> Graph:
    """An empty graph for one memory's ring."""
    graph = hnswlib.Index(space="ip", dim=dim)
    graph.init_index(capacity, M=options.m, ef_construction=options.ef_construction, random_seed=options.seed)
    return Graph(graph, capacity)
