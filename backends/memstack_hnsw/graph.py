"""One hnswlib graph over the slots of a ring: a node for each key, however many slots hold it."""

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

    Slots whose keys are equal have one node. Nodes that are equal link to one another alone: where half of a document
    is repeated, the other half would hardly be reached.
    """

    def __init__(self, graph: Any, capacity: int) -> None:
        self._graph, self._capacity = graph, capacity
        self._node_of = np.full(capacity, -1)
        self._node_at: dict[int, int] = {}
        """The nodes that stand for an entry, by a hash of its key."""
        self._name_of = np.zeros(2 * capacity, dtype=np.int64)
        """And the hash of a node's key. Two keys of one hash cost recall, no more: the store knows what slots hold."""
        self._slots = np.zeros(2 * capacity, dtype=np.int64)
        """How many slots a node stands for."""
        self._levels = np.empty(0, dtype=np.int32)
        """Of the nodes that were there when a node was last marked for the first time."""
        self._added = 0
        self._gateways = 0
        """Nodes whose entries have left, unmarked."""
        self._by_node: Array | None = None
        """The slots in the order of their nodes, once it was asked for."""

    def holds(self, slots: Array) -> Array:
        """Return, for each of these slots, whether it has a node."""
        return self._node_of[slots] >= 0

    def add(self, slots: Array, keys: Array) -> None:
        """Add (n, dim) keys at n slots."""
        self._leave(slots[self.holds(slots)])
        names = [hash(key.tobytes()) for key in keys]
        new = {name: place for place, name in reversed(list(enumerate(names))) if name not in self._node_at}
        places = sorted(new.values())
        if places:
            self._link(keys[places], [names[place] for place in places])
        nodes = np.fromiter((self._node_at[name] for name in names), np.int64, len(names))
        np.add.at(self._slots, nodes, 1)
        self._node_of[slots] = nodes
        self._by_node = None

    def search(self, queries: Array, k: int, ef: int, threads: int) -> Array:
        """Return the slots of up to k nearest keys and some more, of (q, dim) queries; -1 is none."""
        asked = self._with_gateways(k)
        # hnswlib raises where it cannot reach so many: then it looks further.
        ef = max(ef, asked)
        while asked:
            self._graph.set_ef(ef)
            try:
                nodes, _ = self._graph.knn_query(queries, k=asked, num_threads=threads)
                return self._expanded(nodes.astype(np.int64), k)
            except RuntimeError as error:
                if "ef or M is too small" not in str(error):
                    raise
            if ef < self._added:
                ef = min(2 * ef, self._added)
            else:
                asked //= 2  # the graph has come apart: not so many keys can be reached at all
        return np.empty((len(queries), 0), dtype=np.int64)

    def _link(self, keys: Array, names: list[int]) -> None:
        """Give each of these keys, all of them new and different, a node."""
        nodes = np.arange(self._added, self._added + len(keys))
        if nodes[-1] >= self._graph.max_elements:
            self._graph.resize_index(2 * self._capacity)
        # In one thread, for the order in which nodes are linked decides the graph: the same keys, the same answers.
        self._graph.add_items(keys, nodes, num_threads=1)
        self._added += len(keys)
        self._name_of[nodes] = names
        self._node_at |= dict(zip(names, nodes.tolist(), strict=True))

    def _leave(self, slots: Array) -> None:
        """Let entries leave, and mark the nodes that now stand for none, but for gateways."""
        nodes = self._node_of[slots]
        np.subtract.at(self._slots, nodes, 1)
        gone = np.unique(nodes[self._slots[nodes] == 0])
        if not len(gone):
            return
        for name in self._name_of[gone].tolist():
            del self._node_at[name]
        if gone[-1] >= len(self._levels):
            # A copy of the whole graph, once or twice in its life: hnswlib tells levels in no other way.
            self._levels = self._graph.__getstate__()[0]["element_levels"][: self._added]
        upper = self._levels[gone] > 0
        self._gateways += int(upper.sum())
        # hnswlib marks one node a call; a call is a microsecond, adding a key some fifty.
        for node in gone[~upper].tolist():
            self._graph.mark_deleted(node)

    def _with_gateways(self, k: int) -> int:
        """Return how many nodes to ask for, so that about k of them stand for a live entry."""
        live = len(self._node_at)
        k = min(k, live)
        expected = -(-k * self._gateways // max(live, 1))
        return k + min(self._gateways, 2 * expected + 4 if self._gateways else 0)

    def _expanded(self, nodes: Array, k: int) -> Array:
        """Return the slots of (q, n) nodes, best first, those of a node side by side, until there are k; then -1."""
        if self._by_node is None:
            self._by_node = np.argsort(self._node_of, kind="stable")
        counts = np.minimum(self._slots[nodes], k)
        start = counts.cumsum(1) - counts
        counts[start >= k] = 0
        flat = counts.ravel()
        within = np.arange(flat.sum()) - np.repeat(flat.cumsum() - flat, flat)
        first = np.searchsorted(self._node_of[self._by_node], nodes.ravel())
        found = np.full((len(nodes), max(int((start + counts).max(initial=0)), 1)), -1)
        rows = np.repeat(np.repeat(np.arange(len(nodes)), nodes.shape[1]), flat)
        found[rows, np.repeat(start.ravel(), flat) + within] = self._by_node[np.repeat(first, flat) + within]
        return found
