"""Signals that would end the process ask it to end soon: at the next place where nothing is half done."""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from memstack_models.training.errors import TrainingStopped, going_on

ENDING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)  # no SIGHUP on Windows
)


class Signals:
    """While it is entered, the first signal that would end the process is only noted; a second one ends it at once.

    A signal that is ignored, as under ``nohup``, stays so. Former handlers come back at the end. Outside of the main
    thread, where Python handles no signal, it does nothing. ``tell`` is called by the handler: it has to be something
    that may interrupt anything.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None] = lambda text: None) -> None:
        self._folder, self._tell, self._process = folder, tell, os.getpid()
        self._former: Mapping[int, Any] = {}
        self.asked: int | None = None
        """The number of the signal that came, if one did."""

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            former = {number: signal.getsignal(number) for number in ENDING}
            # One that was not set from Python cannot be put back.
            self._former = {number: each for number, each in former.items() if each not in (signal.SIG_IGN, None)}
            for number in self._former:
                signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._put_back()

    def stopped(self, step: int, saved: int | None) -> TrainingStopped:
        """Return what is raised once everything is as it should be: at which step, and at which the checkpoint is."""
        number = self.asked or signal.SIGINT
        kept = {None: "nothing is saved yet", step: "saved"}.get(saved, f"the checkpoint is of step {saved}")
        said = f"stopped by {_name(number)} at step {step}, {kept}; go on with: {going_on(self._folder)}"
        return TrainingStopped(said, number)

    def hand_on(self) -> None:
        """Give the signal to the handler that another part of the program had set for it, if one had."""
        former = self._former.get(self.asked or 0)
        if callable(former) and former is not signal.default_int_handler:
            former(self.asked, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # of a process that was forked meanwhile: that does not train
            self._put_back()
            signal.raise_signal(number)
            return
        if self.asked is not None:
            self._put_back()
            said = f"stopped at once by {_name(number)}; go on from the last checkpoint with: {going_on(self._folder)}"
            raise TrainingStopped(said, number)
        self.asked = number
        self._tell(f"{_name(number)}: stopping once this step is done and saved; a second one stops at once\n")

    def _put_back(self) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)


def tell_at_once(text: str) -> None:
    """Write to standard error past every buffer, as a signal handler has to, which may interrupt any other write."""
    try:
        os.write(2, text.encode())
    except OSError:
        return  # a closed terminal is no reason to end otherwise than asked


def _name(number: int) -> str:
    return signal.Signals(number).name
