"""A command line in a forked child: hundreds a minute, each with a folder, a time limit and an exit of its own.

The parent has imported everything and has started no thread. What Python does when it ends is not tried here.
"""

import contextlib
import ctypes
import faulthandler
import os
import resource
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from memstack.cli import main as cli

LIMIT = 20.0
"""Seconds after which a command that has not begun its work hangs."""
ROOM = 10 << 30
"""Bytes of address space: what asks for more than any machine has is told so."""
WORK = (
    "train",
    "advance",
    "_write_tokens",
    "evaluate",
    "compare_with_progress",
    "tune",
    "report",
    "measure_memory",
    "check_memory",
    "check_thoroughly",
)
"""Functions in which a command has accepted what it was given and does its work."""
GLANCE = 0.7
"""Seconds between two looks at what a command does."""
IDLE = 0.02
"""Seconds of the processor's time between two looks that say that it works, on a busy machine too."""

Setup = Callable[[], None]


@dataclass(frozen=True)
class Done:
    """What a command line did."""

    arguments: tuple[str, ...]
    code: int | None
    """Its exit status, negative for a signal; None if it was stopped at its work or at the limit."""
    out: str
    err: str
    stack: str
    """Where it was when it was stopped."""
    seconds: float

    @property
    def working(self) -> bool:
        """True if it was stopped at its work."""
        return self.code is None and any(f" in {name}\n" in self.stack for name in WORK)


def memstack(arguments: Sequence[str], folder: Path, setup: Setup = lambda: None, limit: float = LIMIT) -> Done:
    """Run a command line in a folder and wait for it; one that is at its work after a while is stopped there."""
    return Child(arguments, folder, setup).wait(limit)


class Child:
    """A command line that runs."""

    def __init__(self, arguments: Sequence[str], folder: Path, setup: Setup = lambda: None) -> None:
        self.arguments, self.begun = tuple(arguments), time.monotonic()
        self.notes = Path(tempfile.mkdtemp(prefix="notes-"))
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            _become(lambda: _main(self.arguments), folder, self.notes, setup)
        self._handle = os.pidfd_open(self.pid)

    def wait(self, limit: float = LIMIT, *, to_the_end: bool = False) -> Done:
        """Wait for its end; it is stopped at the limit or, unless it is ``to_the_end``, once it is at its work."""
        stack, spent = "", self._seconds()
        while not self.ended(GLANCE):
            stack = self.stack()
            late = time.monotonic() - self.begun > limit
            at_work = any(f" in {name}\n" in stack for name in WORK) and self._seconds() > spent + IDLE
            if late or (at_work and not to_the_end):
                self.send(signal.SIGKILL)
                self.ended(LIMIT)
                return self._done(None, stack)
            spent = self._seconds()
        return self._done(self._status(), "")

    def ended(self, seconds: float) -> bool:
        """Wait for its end for so long at most; False if it has not come."""
        return bool(select.select([self._handle], [], [], seconds)[0])

    def send(self, number: int) -> None:
        """Send a signal to it; SIGKILL to all that it has started, too."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if number == signal.SIGKILL else os.kill)(self.pid, number)

    def stack(self) -> str:
        """Return where it is at the moment, as faulthandler writes it."""
        before = self._read("stack")
        self.send(signal.SIGUSR1)
        self.ended(0.1)
        return self._read("stack").removeprefix(before)

    def printed(self) -> str:
        """Return what it has printed so far."""
        return self._read("out") + self._read("err")

    def _seconds(self) -> float:
        """The processor's time that it has spent: what spends none is not at work, whatever it is in."""
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def _status(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def _done(self, code: int | None, stack: str) -> Done:
        if code is None:
            os.waitpid(self.pid, 0)
        os.close(self._handle)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # what it has started and left running
        seconds = time.monotonic() - self.begun
        done = Done(self.arguments, code, self._read("out"), self._read("err"), stack, seconds)
        for name in ("out", "err", "stack"):
            (self.notes / name).unlink(missing_ok=True)
        self.notes.rmdir()
        return done

    def _read(self, name: str) -> str:
        path = self.notes / name
        return path.read_text("utf-8", errors="replace") if path.exists() else ""


def apart(work: Callable[[], object], folder: Path) -> None:
    """Do something in a child, so that no thread it starts and nothing it loads is in this process."""
    with tempfile.TemporaryDirectory(prefix="notes-") as notes:
        pid = os.fork()
        if not pid:
            _become(lambda: (work(), 0)[1], folder, Path(notes), lambda: None)
        _, status = os.waitpid(pid, 0)
        if status:
            raise RuntimeError(f"what was to be done apart failed: {Path(notes, 'err').read_text()}")


def _become(work: Callable[[], int], folder: Path, notes: Path, setup: Setup) -> None:
    """Be the child, to its end: nothing of the parent's stack runs again."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it does not outlive its parent
        os.setsid()
        _redirect(notes)
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        setup()
        code = work()
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    except BaseException:  # noqa: BLE001 - as Python's own end does
        traceback.print_exc()
    finally:
        code = _flushed(code)
        os._exit(code)


def _main(arguments: Sequence[str]) -> int:
    sys.argv = ["memstack", *arguments]
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _redirect(notes: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(notes / name, flags), number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    stack = open(notes / "stack", "w", encoding="utf-8")  # noqa: SIM115
    faulthandler.register(signal.SIGUSR1, stack, all_threads=True)


def _flushed(code: int) -> int:
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        return 120  # as Python's own end does
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
    return code


def both(first: Setup, second: Setup) -> Setup:
    """Return what does the one, then the other."""

    def setup() -> None:
        first()
        second()

    return setup
