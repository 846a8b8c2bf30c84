"""One hnswlib graph over the slots of a ring: a slot that is written again gets a new node."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Graph:
    """Room for twice what the ring holds: nodes whose entries have left stay, are passed through, and never found."""

    def __init__(self, graph: Any, capacity: int) -> None:
        self._graph, self._capacity = graph, capacity
        self._slot_of = np.full(2 * capacity, -1)
        self._node_of = np.full(capacity, -1)
        self._added = 0

    @property
    def room(self) -> int:
        """Keys that can still be added."""
        return 2 * self._capacity - self._added

    def holds(self, slots: Array) -> Array:
        """Return, for each of these slots, whether it has a node."""
        return self._node_of[slots] >= 0

    def add(self, slots: Array, keys: Array) -> None:
        """Add (n, dim) keys at n slots."""
        # hnswlib marks one node a call; a call is a microsecond, adding a key some fifty.
        for node in self._node_of[slots[self.holds(slots)]].tolist():
            self._graph.mark_deleted(node)
        nodes = np.arange(self._added, self._added + len(slots))
        if nodes[-1] >= self._graph.max_elements:
            self._graph.resize_index(2 * self._capacity)
        # In one thread, for the order in which nodes are linked decides the graph: the same keys, the same answers.
        self._graph.add_items(keys, nodes, num_threads=1)
        self._added += len(slots)
        self._node_of[slots], self._slot_of[nodes] = nodes, slots

    def search(self, queries: Array, k: int, ef: int, threads: int) -> Array:
        """Return the slots of up to k nearest keys, of (q, dim) queries as (q, k or fewer)."""
        # hnswlib raises where it cannot reach k of them: then it looks further.
        k = min(k, int((self._node_of >= 0).sum()))
        ef = max(ef, k)
        while k:
            self._graph.set_ef(ef)
            try:
                return self._slot_of[self._graph.knn_query(queries, k=k, num_threads=threads)[0].astype(np.int64)]
            except RuntimeError as error:
                if "ef or M is too small" not in str(error):
                    raise
            if ef < self._added:
                ef = min(2 * ef, self._added)
            else:
                k //= 2  # the graph has come apart: fewer than k keys can be reached at all
        return np.empty((len(queries), 0), dtype=np.int64)
