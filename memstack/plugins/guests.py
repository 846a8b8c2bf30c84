"""Code of plugins is run as a guest's: it may print, raise anything or leave Python, and takes nothing down with it."""

import contextlib
import sys
import threading
from collections.abc import Callable, Generator
from typing import TextIO


class _PrintsAside:
    """Sends what is printed to standard error while any thread is inside.

    Standard output may be a record for another program. The first that enters remembers it, the last that leaves puts
    it back: each for itself, two threads would not.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._output: TextIO | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._output, sys.stdout = sys.stdout, sys.stderr
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                sys.stdout = self._output


_PRINTS = _PrintsAside()


@contextlib.contextmanager
def guest(told: Callable[[BaseException], object]) -> Generator[None, None, None]:
    """Run what a stranger wrote: what it prints goes to standard error, and however it fails is ``told``, not raised.

    Only Ctrl-C goes through.
    """
    try:
        with _PRINTS:
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - as it says
        told(error)
