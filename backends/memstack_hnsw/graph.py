"""One hnswlib graph over the slots of a ring: a slot that is written again gets a new node."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Graph:
    """Room for twice what the ring holds: nodes whose entries have left stay, are passed through, and never found.

    hnswlib (0.8) links a new node, level by level, to the best that it reaches and that are not marked as deleted.
    Where it reaches none it goes on from a node that does not exist, which ends the process. So nodes of the upper
    levels are never marked: a search on an upper level then starts at one that counts, and whatever it hands down to
    the level below counts too. They are the gateways of a graph, one of m nodes; what they still stand for is passed
    over here.
    """

    def __init__(self, graph: Any, capacity: int) -> None:
        self._graph, self._capacity = graph, capacity
        self._slot_of = np.full(2 * capacity, -1)
        self._node_of = np.full(capacity, -1)
        self._levels = np.empty(0, dtype=np.int32)
        """Of the nodes that were there when a node was last marked for the first time."""
        self._added = 0
        self._gateways = 0
        """Nodes whose entries have left, unmarked."""

    @property
    def room(self) -> int:
        """Keys that can still be added."""
        return 2 * self._capacity - self._added

    def holds(self, slots: Array) -> Array:
        """Return, for each of these slots, whether it has a node."""
        return self._node_of[slots] >= 0

    def add(self, slots: Array, keys: Array) -> None:
        """Add (n, dim) keys at n slots."""
        self._mark(self._node_of[slots[self.holds(slots)]])
        nodes = np.arange(self._added, self._added + len(slots))
        if nodes[-1] >= self._graph.max_elements:
            self._graph.resize_index(2 * self._capacity)
        # In one thread, for the order in which nodes are linked decides the graph: the same keys, the same answers.
        self._graph.add_items(keys, nodes, num_threads=1)
        self._added += len(slots)
        self._node_of[slots], self._slot_of[nodes] = nodes, slots

    def search(self, queries: Array, k: int, ef: int, threads: int) -> Array:
        """Return the slots of up to k nearest keys and some more, of (q, dim) queries; -1 is none."""
        k = self._with_gateways(k)
        # hnswlib raises where it cannot reach k of them: then it looks further.
        ef = max(ef, k)
        while k:
            self._graph.set_ef(ef)
            try:
                return self._slots(self._graph.knn_query(queries, k=k, num_threads=threads)[0].astype(np.int64))
            except RuntimeError as error:
                if "ef or M is too small" not in str(error):
                    raise
            if ef < self._added:
                ef = min(2 * ef, self._added)
            else:
                k //= 2  # the graph has come apart: fewer than k keys can be reached at all
        return np.empty((len(queries), 0), dtype=np.int64)

    def _mark(self, nodes: Array) -> None:
        """Mark the nodes whose entries leave, but for gateways."""
        if not len(nodes):
            return
        if nodes.max() >= len(self._levels):
            # A copy of the whole graph, once or twice in its life: hnswlib tells levels in no other way.
            self._levels = self._graph.__getstate__()[0]["element_levels"][: self._added]
        upper = self._levels[nodes] > 0
        self._gateways += int(upper.sum())
        # hnswlib marks one node a call; a call is a microsecond, adding a key some fifty.
        for node in nodes[~upper].tolist():
            self._graph.mark_deleted(node)

    def _with_gateways(self, k: int) -> int:
        """Return how many nodes to ask for, so that about k of them stand for a live entry."""
        live = int((self._node_of >= 0).sum())
        k = min(k, live)
        expected = -(-k * self._gateways // max(live, 1))
        return k + min(self._gateways, 2 * expected + 4 if self._gateways else 0)

    def _slots(self, nodes: Array) -> Array:
        """Return the slots of nodes; -1 where another node has taken it."""
        slots = self._slot_of[nodes]
        return np.where(self._node_of[slots] == nodes, slots, -1)
