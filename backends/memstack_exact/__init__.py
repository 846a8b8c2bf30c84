"""Exact search: the reference and the default. Importing this package imports no search code."""

from collections.abc import Sequence

import memstack


@memstack.hookimpl
def memstack_backends() -> Sequence[memstack.BackendSpec]:
    """Offer ``exact``."""
    spec = memstack.BackendSpec(
        name="exact",
        target="memstack_exact.search:ExactMemory",
        summary="batched matrix product and exact top-k on any torch device, in 8 bits first where that runs",
        exact=True,
        yardstick=True,
        devices=("cpu", "cuda", "mps", "xpu"),
        # The way that runs anywhere, in so small a block that the tests' searches run in several.
        test_options={"block": 64, "first_pass": "none"},
    )
    return [spec]
