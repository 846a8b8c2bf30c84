"""HNSW graphs by hnswlib. Importing this package does not import hnswlib."""

from collections.abc import Sequence

import memstack


@memstack.hookimpl
def memstack_backends() -> Sequence[memstack.BackendSpec]:
    """Offer ``hnsw``."""
    spec = memstack.BackendSpec(
        name="hnsw",
        target="memstack_hnsw.index:HNSWMemory",
        summary="one hnswlib graph per memory; slow to fill, for documents that stay",
        requires=("hnswlib",),
        install="memstack[hnsw]",
        recall_floor=0.9,
        yardstick=True,
        test_options={"exact_below": 16, "m": 8, "ef_construction": 64, "ef_search": 48},
        search_space={"ef_search": (32, 64, 128, 256, 512, 1024)},
    )
    return [spec]
