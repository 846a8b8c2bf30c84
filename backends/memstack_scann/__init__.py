"""Trees and asymmetric hashing by ScaNN. Importing this package does not import scann."""

from collections.abc import Sequence

import memstack


@memstack.hookimpl
def memstack_backends() -> Sequence[memstack.BackendSpec]:
    """Offer ``scann``."""
    spec = memstack.BackendSpec(
        name="scann",
        target="memstack_scann.index:ScannMemory",
        summary="tree, asymmetric hashing and exact re-ordering per memory; pays from about 65k entries",
        requires=("scann",),
        install="memstack[scann]",
        needs_training=True,
        recall_floor=0.9,
        test_options={"exact_below": 16, "leaves": 6, "leaves_searched": 5, "reordered": 48},
        search_space={"leaves_searched": (4, 8, 16, 32, 64, 128, 256)},
    )
    return [spec]
