"""Entries of the cache folder as what they hold; one that holds something else is made again."""

from collections.abc import Callable
from typing import TypeVar

from memstack.plugins.disk_cache import Write, cached, forget, mapped

Held = TypeVar("Held")
Content = TypeVar("Content", bytes, memoryview)


def read_cached(name: str, build: Callable[[], bytes], read: Callable[[bytes], Held]) -> Held:
    """Return what ``read`` makes of the entry of that name; it is built if it is missing, damaged or cannot be read.

    ``read`` raises whatever it likes for an entry that holds something else: one of an earlier format, say. What it
    makes of a new entry is returned or raised as it is.
    """
    built: list[bool] = []

    def build_once() -> bytes:
        built.append(True)
        return build()

    return _read(name, lambda: cached(name, build_once), read, built)


def read_mapped(name: str, build: Callable[[Write], None], read: Callable[[memoryview], Held]) -> Held:
    """Return what ``read`` makes of the entry of that name, mapped into memory, as ``read_cached`` does."""
    built: list[bool] = []

    def build_once(write: Write) -> None:
        built.append(True)
        build(write)

    return _read(name, lambda: mapped(name, build_once), read, built)


def _read(name: str, entry: Callable[[], Content], read: Callable[[Content], Held], built: list[bool]) -> Held:
    """What ``read`` makes of an entry; once again, of a new one, unless it has just been built."""
    content = entry()
    try:
        return read(content)
    except Exception:
        if built:
            raise
    forget(name)
    return read(entry())
