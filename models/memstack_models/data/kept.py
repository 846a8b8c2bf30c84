"""kept(): an entry of the cache folder as what it holds; one that holds something else is made again."""

from collections.abc import Callable
from typing import TypeVar

from memstack.plugins.disk_cache import cache_folder, cached

Held = TypeVar("Held")


def kept(name: str, build: Callable[[], bytes], read: Callable[[bytes], Held]) -> Held:
    """Return what ``read`` makes of the entry of that name; it is built if it is missing, damaged or cannot be read.

    ``read`` raises whatever it likes for an entry that holds something else: one of an earlier format, say. What it
    makes of a new entry is returned or raised as it is.
    """
    built = False

    def build_and_tell() -> bytes:
        nonlocal built
        built = True
        return build()

    content = cached(name, build_and_tell)
    try:
        return read(content)
    except Exception:
        if built:
            raise
    (cache_folder() / name).unlink(missing_ok=True)
    return read(cached(name, build))
