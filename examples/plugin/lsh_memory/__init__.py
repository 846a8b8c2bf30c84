"""Random hyperplanes as a search backend of memstack."""

import memstack


@memstack.hookimpl
def memstack_backends() -> list[memstack.BackendSpec]:
    """Offer ``lsh``."""
    spec = memstack.BackendSpec(
        name="lsh",
        target="lsh_memory.search:LSHMemory",
        summary="sides of random hyperplanes, then exact scores of the likeliest keys",
        recall_floor=0.5,
        # Fewer candidates than the tests' memories hold, so that the hashes decide what is found.
        test_options={"bits": 32, "candidates": 32},
    )
    return [spec]
