"""Journal: a memory does one thing at a time, and each change in whole or not at all, whatever interrupts it.

A change is remembered by one assignment before anything is touched, and forgotten when it is done. Where it is cut
off, by Ctrl-C or by an error, it is made whole, or as if it had never been, at once; if that is cut off as well,
whoever asks the memory next does it first.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import Any, NamedTuple, TypeVar

from memstack.store.changes import Change
from memstack.store.forking import tell_of_forks

Answer = TypeVar("Answer")


class Undertaking(NamedTuple):
    """A change and how it is made; ``recover`` is for one that was cut off, wherever that was, and may be cut off."""

    change: Change
    perform: Callable[[Change], None]
    recover: Callable[[Change], None]


class Journal:
    """Gives every thread its turn, and no change but a whole one."""

    def __init__(self) -> None:
        self._open()

    def _open(self) -> None:
        # Of the thread that has it: a turn that was never given back would be in nobody's way but other threads'.
        self._turn = threading.RLock()
        self._pending: Undertaking | None = None
        self._errors: list[BaseException] = []
        tell_of_forks(self)

    def __getstate__(self) -> dict[str, Any]:
        """A copy has nothing to do: what is pending here is done first, so that it is in whatever is copied."""
        self.settle()
        return {"pending": None}

    def __setstate__(self, _: dict[str, Any]) -> None:
        self._open()

    def alone(self, ask: Callable[[], Answer]) -> Answer:
        """Answer once no other thread is at the memory and what is pending is done; raises what went wrong in that.

        Work that is part of a change may ask in the midst of it.
        """
        if _WORKING.get() is self:
            return ask()
        # In one line: a debugger, or a test, that interrupts at a line finds none between the answer and the next turn.
        with self._turn: return self._settled(ask)  # fmt: skip  # noqa: E701

    def settle(self) -> None:
        """Wait for what is done in the background, finish what was cut off, and raise what went wrong in either."""
        pending = self._pending
        if (pending is None and not self._errors) or _WORKING.get() is self:
            return
        # A backend's own threads may ask while it works for a caller who waits for them: they are not to wait for him.
        if pending is None or pending.change.promised or self._is_free():
            self.alone(_nothing)

    def do(self, undertaking: Undertaking) -> None:
        """Make a change now, in one's turn; if that fails or is interrupted, recover from it before that is raised."""
        try:
            self._pending = undertaking
            self._run(undertaking.perform)
            self._pending = None
        except BaseException as error:
            self._recover(failed=isinstance(error, Exception))
            raise

    def later(self, undertaking: Undertaking) -> None:
        """Make a change in the background, which begins in one's turn; its error is raised where the next one asks."""
        self._pending = undertaking
        with suppress(RuntimeError):  # there is no thread to be had: whoever asks next does it
            threading.Thread(target=self._in_background, name="memstack-add").start()

    def before_fork(self) -> None:
        """Wait for whoever is at work: in the process that a fork makes, it would never end."""
        if self._pending is not None and _WORKING.get() is not self:
            with self._turn:
                pass  # its error is left for whoever asks next

    def after_fork(self) -> None:
        """Take turns anew: whoever had one in the parent is not here, and what is pending is done by who asks next."""
        self._turn = threading.RLock()

    def report(self, error: Exception) -> None:
        """Have an error raised where the memory is next asked something."""
        self._errors.append(error)

    def _settled(self, ask: Callable[[], Answer]) -> Answer:
        self._resume()
        if self._errors:
            raise self._errors.pop()
        return ask()

    def _resume(self) -> None:
        """Do what is pending, which nobody is at, for this is one's turn."""
        if (pending := self._pending) is None:
            return
        if pending.change.promised and not pending.change.begun:
            self.do(pending)
        else:
            self._recover(failed=False)

    def _recover(self, failed: bool) -> None:
        if (pending := self._pending) is None:
            return
        self._run(pending.recover)
        # What somebody counts on is not given up for an interrupt that was meant for whoever waited for it.
        if failed or pending.change.begun or not pending.change.promised:
            self._pending = None

    def _run(self, step: Callable[[Change], None]) -> None:
        copy_context().run(self._at_work, step)

    def _at_work(self, step: Callable[[Change], None]) -> None:
        _WORKING.set(self)
        if self._pending is not None:
            step(self._pending.change)

    def _in_background(self) -> None:
        with self._turn:
            try:
                self._resume()
            except BaseException as error:  # noqa: BLE001 - kept for the caller, who cannot catch it in this thread
                self._errors.append(error)

    def _is_free(self) -> bool:
        """Whether the turn is nobody's, or this thread's own."""
        if free := self._turn.acquire(blocking=False):
            self._turn.release()
        return free


def _nothing() -> None:
    """There is nothing to ask but that all is settled."""


_WORKING: ContextVar[Journal | None] = ContextVar("memstack-working", default=None)
"""Whose change the thread at hand is part of; a pool's threads know it if they run in a copy of its context."""
