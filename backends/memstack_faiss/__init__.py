"""Inverted lists by faiss. Importing this package does not import faiss."""

from collections.abc import Sequence

import memstack


@memstack.hookimpl
def memstack_backends() -> Sequence[memstack.BackendSpec]:
    """Offer ``faiss-ivf``."""
    spec = memstack.BackendSpec(
        name="faiss-ivf",
        target="memstack_faiss.index:FaissIVFMemory",
        summary="inverted lists per memory, trained again as the keys drift; pays from about 65k entries",
        requires=("faiss",),
        install="memstack[faiss]",
        devices=("cpu", "cuda"),
        needs_training=True,
        recall_floor=0.9,
        test_options={"exact_below": 16, "nlist": 4, "nprobe": 3},
        search_space={"nprobe": (1, 2, 4, 8, 16, 32, 64, 128)},
    )
    return [spec]
