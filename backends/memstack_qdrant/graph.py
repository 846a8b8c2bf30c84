"""The graph that a store keeps over its keys, so that a search need not look at all of them."""

from typing import NamedTuple


class Graph(NamedTuple):
    """Hierarchical navigable small worlds (HNSW), as Qdrant builds them over its segments; of the keys alone."""

    entries: int
    """A segment of so many gets one, and so many that pass a query's filter are found by it."""
    m: int
    ef_construction: int
    ef_search: int

    def kilobytes(self, key_dim: int) -> int:
        """Return ``entries`` as Qdrant counts them."""
        return max(1, self.entries * key_dim * 4 // 1024)
