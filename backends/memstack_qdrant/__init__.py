"""Qdrant, a cluster or as a library. Importing this package imports neither its client nor its engine."""

import tempfile
from collections.abc import Sequence

import memstack


@memstack.hookimpl
def memstack_backends() -> Sequence[memstack.BackendSpec]:
    """Offer ``qdrant``."""
    spec = memstack.BackendSpec(
        name="qdrant",
        target="memstack_qdrant.memory:QdrantMemory",
        summary="a Qdrant cluster, or its engine in a folder: entries beyond the memory of the machines that ask",
        requires=("qdrant_client", "qdrant_edge"),
        install="memstack[qdrant]",
        exact=True,
        needs_options=True,
        test_options={"path": tempfile.gettempdir()},
    )
    return [spec]
