"""Try an installed memstack's first pass in every variant that runs here; a wheel has to hold them, compiled."""

import os
import sys
from pathlib import Path

import torch
from memstack_exact.cpu import compiler, library

from memstack import MemoryShape, create_memory


def main() -> None:
    """Search by each variant and in full, and say which agreed; exit with a line that says what did not."""
    os.environ["MEMSTACK_CACHE"] = str(Path("no-cache").absolute())
    compiler.find = lambda: None
    shape = MemoryShape(rows=1, heads=2, key_dim=24, value_dim=4, capacity=3000)
    keys, queries = torch.randn(1, 2, 3000, 24), torch.randn(1, 2, 40, 24)
    found: dict[str, torch.Tensor] = {}
    for variant in ("none", *library.runnable()):
        os.environ[library.VARIABLE] = "" if variant == "none" else variant
        memory = create_memory("exact", shape, first_pass="none" if variant == "none" else "int8")
        memory.add(keys, keys[..., :4])
        found[variant] = memory.search(queries, 16).positions
        if not torch.equal(found[variant], found["none"]):
            sys.exit(f"{variant} finds other neighbours than a search in full")
    sys.stdout.write(f"searched by {', '.join(found)}\n")


if __name__ == "__main__":
    main()
