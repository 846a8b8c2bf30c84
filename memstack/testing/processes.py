"""Promises about other processes: a memory goes on in one that is forked, and a spawned one is given a copy."""

import importlib.util
import os
import select
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any
from unittest import SkipTest

from memstack.contract.errors import CopyError, ForkError, in_one_line
from memstack.testing.assertions import ensure
from memstack.testing.harness import CHUNK, SHAPE, Harness, Trial

LIMIT_S = 30.0
"""After which a process counts as hanging."""
DONE, REFUSED = "done", "refused"
SPAWNED = "import sys; from memstack.testing.processes import go_on; go_on(sys.stdin.buffer.read())"


class ProcessContract(Harness):
    """What a memory does in other processes than its own."""

    def test_a_forked_process_goes_on_with_it(self) -> None:
        """In a forked process it goes on alone, or says at once that it cannot; its own process notices nothing."""
        if not hasattr(os, "fork"):
            raise SkipTest("this system cannot fork")
        trial = self.trial()
        trial.add(CHUNK)
        trial.check()  # for whatever begins with the first search
        trial.add(SHAPE.capacity)  # and may be under way
        failure = in_a_fork(lambda: use(trial))
        ensure(not failure, f"in a forked process: {failure}")
        use(trial)

    def test_a_spawned_process_is_given_a_copy(self) -> None:
        """A spawned process that is sent the memory has one of its own, which goes on there; or it is refused."""
        trial = self.trial()
        for n in (CHUNK, SHAPE.capacity):
            trial.add(n)
        module = type(trial.memory).__module__
        if not _can_be_imported(module):
            raise SkipTest(f"another process cannot import {module}")
        try:
            sent = as_sent((trial.memory, trial.oracle, trial.exact))
        except CopyError as refused:
            ensure(len(str(refused).splitlines()) == 1, f"a refusal should be one line, got {refused}")
            return
        failure = elsewhere(sent)
        ensure(not failure, f"in a spawned process: {failure}")
        use(trial)


def _can_be_imported(module: str) -> bool:
    try:
        return module in sys.modules and importlib.util.find_spec(module) is not None
    except ValueError:  # of a module that was made by hand
        return False


def as_sent(thing: Any) -> bytes:
    """Return what a spawned process is sent of its arguments, in which tensors may be shared."""
    return bytes(ForkingPickler.dumps(thing))


def received(sent: bytes) -> Any:
    """Return what a process makes of what it is sent."""
    return ForkingPickler.loads(sent)  # pyright: ignore[reportAttributeAccessIssue] - as Connection.recv does


def use(trial: Trial) -> None:
    """Search, add, search again, reset and add: every answer is compared with the oracle's."""
    trial.check()
    for n in (CHUNK, SHAPE.capacity + 3):
        trial.add(n)
        trial.check()
    trial.reset(True, False, False)
    trial.add(CHUNK)
    trial.check()


def in_a_fork(work: Callable[[], None], limit_s: float | None = None) -> str:
    """Return what goes wrong with work in a forked process, in one line; nothing where it is done, or refused.

    A refusal is a ForkError with a message of one line. After ``limit_s``, or LIMIT_S, the process is ended.
    """
    came = said_by_a_fork(work, limit_s)
    return "" if came in (DONE, REFUSED) else came


def said_by_a_fork(work: Callable[[], None], limit_s: float | None = None) -> str:
    """Return ``DONE`` or ``REFUSED``, or what goes wrong with work in a forked process, as ``in_a_fork`` does."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are threads, which is what this is about
        child = os.fork()
    if child == 0:
        _tell(work, writer)
    os.close(writer)
    try:
        return _heard(reader, LIMIT_S if limit_s is None else limit_s)
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def elsewhere(sent: bytes) -> str:
    """Return what goes wrong in a new process that goes on with what it is sent, in one line."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    line = [sys.executable, "-c", SPAWNED]
    done = subprocess.run(line, input=sent, env=environment, capture_output=True, check=False)
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return "" if done.returncode == 0 else " ".join(said[-1:]) or f"exit status {done.returncode}"


def go_on(sent: bytes) -> None:
    """Use the memory that was sent: what a process runs that ``elsewhere`` starts."""
    memory, oracle, exact = received(sent)
    trial = Trial(memory, exact)
    trial.oracle = oracle
    use(trial)


def _tell(work: Callable[[], None], writer: int) -> None:
    """In the forked process: work, say what came of it, and end without a return to whoever forked it."""
    try:
        work()
        said = DONE
    except ForkError as error:
        lines = str(error).splitlines()
        said = REFUSED if len(lines) == 1 else f"a refusal should be one line, got {len(lines)}"
    except BaseException as error:  # noqa: BLE001 - whatever it is, the other process says it
        said = in_one_line(error)
    try:
        os.write(writer, said.encode(errors="replace"))
    finally:
        os._exit(0)


def _heard(reader: int, limit_s: float) -> str:
    ready, _, _ = select.select([reader], [], [], limit_s)
    if not ready:
        return f"it hangs: nothing came within {limit_s:.0f} s"
    return os.read(reader, 4096).decode(errors="replace") or "it ended without a word"
