"""Approximate top-k by buckets, on any torch device. Importing this package imports no search code."""

from collections.abc import Sequence

import memstack


@memstack.hookimpl
def memstack_backends() -> Sequence[memstack.BackendSpec]:
    """Offer ``bucketed``."""
    spec = memstack.BackendSpec(
        name="bucketed",
        target="memstack_bucketed.search:BucketedMemory",
        summary="the best of every bucket, then the best of those: a target of recall, on any torch device",
        devices=("cpu", "cuda", "mps", "xpu"),
        recall_floor=0.9,
        # So small a block that the tests' searches run in several. Their few keys are bucketed at any target.
        test_options={"block": 64},
        search_space={"recall_target": (0.5, 0.7, 0.9, 0.95, 0.99)},
    )
    return [spec]
