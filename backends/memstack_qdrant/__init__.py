"""Qdrant, a cluster or as a library. Importing this package imports neither its client nor its engine."""

import tempfile
from collections.abc import Sequence

import memstack


@memstack.hookimpl
def memstack_backends() -> Sequence[memstack.BackendSpec]:
    """Offer ``qdrant`` and ``qdrant-graph``."""
    place = {"path": tempfile.gettempdir()}
    exact = memstack.BackendSpec(
        name="qdrant",
        target="memstack_qdrant.memory:QdrantMemory",
        summary="a Qdrant cluster, or its engine in a folder: entries beyond the memory of the machines that ask",
        requires=("qdrant_client", "qdrant_edge"),
        install="memstack[qdrant]",
        exact=True,
        keeps=True,
        needs_options=True,
        test_options=place,
    )
    graph = memstack.BackendSpec(
        name="qdrant-graph",
        target="memstack_qdrant.memory:QdrantGraphMemory",
        summary="the same with a graph over the keys: for few memories with very many entries each",
        requires=("qdrant_client", "qdrant_edge"),
        install="memstack[qdrant]",
        recall_floor=0.9,
        keeps=True,
        needs_options=True,
        test_options={**place, "graph_from": 300, "m": 8, "ef_construction": 64, "ef_search": 48},
        search_space={"ef_search": (32, 64, 128, 256, 512)},
    )
    return [exact, graph]
