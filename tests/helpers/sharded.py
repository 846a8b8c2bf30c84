"""The kit, and histories, for a memory on several ranks."""

from collections.abc import Mapping
from typing import Any, ClassVar

from memstack import Memory, MemoryShape, create_memory
from memstack.plugins.registry import registry
from memstack.testing import MemoryContract, promises
from memstack.testing.harness import SHAPE
from memstack.testing.runner import check_contract
from memstack.wrappers.sharded import DealtMemory, ShardedMemory

LIMIT = 60.0
INTERRUPTS = (
    "an interrupt reaches each rank at another line; what is then done on one and not on another is an error on all"
)
EXCLUDED = {name: INTERRUPTS for name in promises() if "interrupted" in name}


class OnRanks(MemoryContract):
    """The kit, in step on all ranks, over a backend that is dealt out among them."""

    shards: ClassVar[int]
    excluded: ClassVar[Mapping[str, str]] = EXCLUDED

    def make(self, shape: MemoryShape = SHAPE, **options: Any) -> Memory:
        given = self._with(options)
        return DealtMemory(ShardedMemory(shape, Backend(str(self.backend), given), self.shards, LIMIT))


class Backend:
    """Makes a memory of a backend with these options."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        self.name, self.options = name, options

    def __call__(self, shape: MemoryShape) -> Memory:
        return create_memory(self.name, shape, **self.options)


def kit(_: int, backend: str, shards: int, only: list[str] | None) -> list[tuple[str, str, str]]:
    """Return how each promise fared on a rank."""
    contract: MemoryContract = type("Checked", (OnRanks,), {"backend": backend, "shards": shards})()
    return [(result.name, result.outcome, result.detail) for result in check_contract(contract, only)]


def sharded(
    shape: MemoryShape, shards: int, limit: float = LIMIT, backend: str = "exact", **options: Any
) -> ShardedMemory:
    """Make a memory over so many ranks."""
    return ShardedMemory(shape, Backend(backend, {**registry().spec(backend).test_options, **options}), shards, limit)


def refusal(action: Any) -> str:
    """Return the class and the message of what an action raises, or that it raises nothing."""
    try:
        action()
    except Exception as error:  # noqa: BLE001 - whichever it is
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"
