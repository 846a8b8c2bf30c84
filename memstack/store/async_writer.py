"""One piece of work at a time behind the caller's back, in order; its error is raised where the caller next asks."""

import threading
from collections.abc import Callable
from contextvars import ContextVar

from memstack.store.forking import tell_of_forks

_WORKING: ContextVar["AsyncWriter | None"] = ContextVar("memstack-working", default=None)
"""Whose work the thread at hand is part of; a pool's threads know it if they run in a copy of the caller's context."""


class AsyncWriter:
    """Runs work in a thread of its own; ``settle`` waits for it."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __getstate__(self) -> dict[str, None]:
        """A copy has nothing to do: what is at work here is waited for, so that it is in whatever is copied."""
        self.settle()
        return {"_thread": None, "_error": None}

    def before_fork(self) -> None:
        """Wait for what is at work here: in the process that a fork makes, it would never end."""
        thread = self._thread
        if thread is not None and thread.is_alive() and _WORKING.get() is not self:
            thread.join()  # its error is left for whoever asks next

    def after_fork(self) -> None:
        """Do nothing: what was at work has ended, and a thread that stayed behind counts as ended."""

    def start(self, work: Callable[[], None]) -> None:
        """Run ``work`` in the background, once what was started before has ended; raises that one's error."""
        self.settle()
        tell_of_forks(self)

        def run() -> None:
            _WORKING.set(self)
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - kept for the caller, who cannot catch it in this thread
                self._error = error

        self._thread = threading.Thread(target=run, name="memstack-add")
        self._thread.start()

    def settle(self) -> None:
        """Wait until nothing runs any more, and raise what it raised; the work itself may call this and goes on."""
        thread = self._thread  # taken once: another thread may settle at the same time
        if thread is None or _WORKING.get() is self:
            return
        thread.join()
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error
