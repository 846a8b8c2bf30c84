"""How a part is tried: here, or in processes of its own, where one that ends or hangs is a finding and no end."""

import faulthandler
import json
import os
import re
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from tempfile import TemporaryFile
from typing import Any
from unittest import SkipTest

import torch
from pydantic import SecretStr

from memstack.plugins.specs import import_target
from memstack.testing.thorough.history import RefusedError
from memstack.testing.thorough.part import HANGS, Attempt, Budget, Note, Part, Tally
from memstack.testing.thorough.report import Finding, Tried, said
from memstack.testing.thorough.subject import Subject

CODE = "from memstack.testing.thorough.trying import work; work()"
STARTING = 120.0
"""Seconds that a process may take until it says its first word: search libraries are slow to import."""


def try_here(part: Part, budget: Budget) -> Tried:
    """Try a part in this process."""
    tally, threads = Tally(part, budget), torch.get_num_threads()
    torch.set_num_threads(part.torch_threads or threads)
    try:
        while not tally.over:
            tally.take(tally.next, attempted(part, tally.next, lambda _: None))
    except SkipTest as reason:
        tally.not_run = str(reason)
    finally:
        torch.set_num_threads(threads)
    return tally.tried()


def try_apart(part: Part, budget: Budget, patience: float) -> Tried:
    """Try a part in another process, and in another one from the next attempt on where that ends or hangs."""
    tally = Tally(part, budget)
    while not tally.over:
        child = Child(part, {"first": tally.next, **asdict(tally.left)})
        if how := child.followed(tally, patience):
            number, at = child.number, child.at
            finding = part.ended(number, at, how, partial(_ends, part, number, patience=patience))
            tally.take(number, Attempt(0, {}, finding))
    return tally.tried()


def attempted(part: Part, number: int, note: Note) -> Attempt:
    """Make one attempt; whatever it raises is a finding, but SkipTest and a memory that is refused."""
    try:
        return part.attempt(number, note)
    except SkipTest:
        raise
    except RefusedError:
        return Attempt(0, {"memories refused": 1})
    except Exception as error:  # noqa: BLE001 - a stranger's memory may fail in any way
        return Attempt(0, {}, Finding(said(error), number, part.again(number)))


class Child:
    """A process that tries a part, and what it has said so far."""

    def __init__(self, part: Part, job: dict[str, Any]) -> None:
        self.number = self.at = 0
        self._read, write = os.pipe()
        self._printed = TemporaryFile()  # noqa: SIM115 - as long as the process
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-c", CODE],
            stdin=subprocess.PIPE,
            stdout=self._printed,
            stderr=self._printed,
            pass_fds=(write,),
            env=environment,
            start_new_session=True,  # what is sent to the terminal's processes is not for it
        )
        os.close(write)
        kind, subject = f"{type(part).__module__}:{type(part).__qualname__}", part.subject
        about = {"part": kind, "backend": subject.backend, "options": dict(subject.given), "seed": part.seed}
        assert self._process.stdin is not None
        # Not among the arguments, which others can read: options may hold a secret.
        self._process.stdin.write(json.dumps({**about, **job, "to": write}, default=_plain).encode())
        self._process.stdin.close()

    def followed(self, tally: Tally, patience: float) -> str:
        """Take in what it says until it ends; return how it ended, if not as it should have."""
        ended = False
        try:
            for word, *said in self._lines(patience):
                if word == "at":
                    self.number, self.at = said
                elif word == "done":
                    number, attempt = said
                    finding = attempt.pop("finding")
                    tally.take(number, Attempt(**attempt, finding=finding and Finding(**finding)))
                elif word == "skip":
                    tally.not_run = said[0]
                ended = word == "end"
        except TimeoutError:
            return f"{HANGS}: nothing for {patience:g} s, {self._stopped()}"
        finally:
            how = self._closed()
        return "" if ended else how

    def _lines(self, patience: float) -> Iterator[list[Any]]:
        """What it says, line by line; TimeoutError if it says nothing for so long."""
        rest, wait = b"", max(patience, STARTING)
        while True:
            if not select.select([self._read], [], [], wait)[0]:
                raise TimeoutError
            data = os.read(self._read, 1 << 16)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            yield from map(json.loads, lines)
            wait = patience

    def _stopped(self) -> str:
        """Have the process say where it is, and end."""
        self._process.send_signal(signal.SIGABRT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return f"last in {self._last_frame() or 'native code'}"

    def _closed(self) -> str:
        """End the process if it still runs, and return how it ended."""
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
        code = self._process.wait()
        os.close(self._read)
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        frame, printed = self._last_frame(), self._text().strip().splitlines()
        where = f", last in {frame}" if frame else f": {textwrap.shorten(printed[-1], 200)}" if printed else ""
        self._printed.close()
        return f"the process ended with {name}{where}"

    def _last_frame(self) -> str:
        """The line of Python that faulthandler says the process was at."""
        found = re.search(r'File "([^"]+)", line (\d+) in (\S+)', self._text())
        return f"{os.path.basename(found[1])}:{found[2]} in {found[3]}" if found else ""

    def _text(self) -> str:
        self._printed.seek(0)
        return self._printed.read().decode(errors="replace")


def work() -> None:
    """Try a part in this process, which ``Child`` has begun, and say what comes of it."""
    faulthandler.enable()
    job = json.loads(sys.stdin.buffer.read())
    part: Part = import_target(job["part"])(Subject(job["backend"], job["options"]), job["seed"])
    torch.set_num_threads(part.torch_threads or torch.get_num_threads())
    with open(job["to"], "w", encoding="utf-8") as out:

        def say(*said: Any) -> None:
            out.write(json.dumps(said) + "\n")
            out.flush()

        if "only" in job:
            part.only(job["first"], job["only"], lambda at: say("at", job["first"], at))
        else:
            _work_through(part, Budget(job["units"], job["seconds"], job["findings"]), job["first"], say)
        say("end")


def _work_through(part: Part, budget: Budget, first: int, say: Any) -> None:
    tally = Tally(part, budget)
    try:
        while not tally.over:
            number = first + tally.next
            say("at", number, 0)
            attempt = attempted(part, number, lambda at, number=number: say("at", number, at))
            say("done", number, asdict(attempt))
            tally.take(tally.next, attempt)
    except SkipTest as reason:
        say("skip", str(reason))


def _ends(part: Part, number: int, kept: list[int], *, patience: float) -> bool:
    """Whether a process that does only these steps of an attempt ends, or hangs."""
    child = Child(part, {"first": number, "only": kept})
    return bool(child.followed(Tally(part, Budget(None, None)), patience))


def _plain(value: Any) -> Any:
    """For JSON: a secret as it is, for a pipe that nobody else reads; anything else as text."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
