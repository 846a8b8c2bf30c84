"""read_cached(): an entry of the cache folder as what it holds; one that holds something else is made again."""

from collections.abc import Callable
from typing import TypeVar

from memstack.plugins.disk_cache import cached, forget

Held = TypeVar("Held")


def read_cached(name: str, build: Callable[[], bytes], read: Callable[[bytes], Held]) -> Held:
    """Return what ``read`` makes of the entry of that name; it is built if it is missing, damaged or cannot be read.

    ``read`` raises whatever it likes for an entry that holds something else: one of an earlier format, say. What it
    makes of a new entry is returned or raised as it is.
    """
    built: list[bytes] = []

    def build_once() -> bytes:
        built.append(build())
        return built[-1]

    content = cached(name, build_once)
    try:
        return read(content)
    except Exception:
        if built:
            raise
    forget(name)
    return read(cached(name, build_once))
