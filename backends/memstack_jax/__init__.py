"""Approximate top-k by JAX. Importing this package does not import jax."""

from collections.abc import Sequence

import memstack


@memstack.hookimpl
def memstack_backends() -> Sequence[memstack.BackendSpec]:
    """Offer ``jax``."""
    spec = memstack.BackendSpec(
        name="jax",
        target="memstack_jax.search:JaxMemory",
        summary="JAX's approximate top-k: made for TPUs, exact elsewhere",
        requires=("jax",),
        install="memstack[jax]",
        devices=("cpu", "cuda"),
        recall_floor=0.9,
        # So low a target that 256 keys are reduced to 128 buckets; below 128 keys there is nothing to reduce.
        test_options={"reduction": "buckets", "recall_target": 0.5},
        # The native reduction is exact off TPUs, whatever the target.
        search_space={"reduction": ("buckets",), "recall_target": (0.5, 0.7, 0.9, 0.95, 0.99)},
    )
    return [spec]
