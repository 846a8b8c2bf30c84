"""Threads that work on independent things at once, in a process of their own."""

import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any


class Workers:
    """A pool of threads, made at its first use; anew in a forked process, into which threads do not come along."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()
        self._busy = 0

    def __reduce__(self) -> Any:
        """A copy has threads of its own."""
        return Workers, ()

    def pool(self, threads: int, prepare: Callable[..., None], *given: Any) -> ThreadPoolExecutor:
        """Return a pool of so many threads, each of which begins with ``prepare(*given)``."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(threads, "memstack-index", prepare, given)
        return self._pool

    @contextmanager
    def at_work(self) -> Generator[None]:
        """Say that something is being worked on, until this is left."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    def left_behind(self) -> bool:
        """In a forked process, do without the threads that stayed behind; True, once, if they were at work then.

        What they worked on is in an unknown state, its locks held: it is not to be used.
        """
        if self._process == os.getpid():
            return False
        interrupted, self._busy = self._busy > 0, 0
        self._pool, self._process = None, os.getpid()
        return interrupted
