"""SIGKILL of a process that keeps a memory in files: nothing is left behind, and the next memory there is right."""

import itertools
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from random import Random
from typing import Any, ClassVar
from unittest import SkipTest

from memstack.testing.assertions import ensure
from memstack.testing.thorough.changes import ask_once, do_change
from memstack.testing.thorough.history import drawn_shape
from memstack.testing.thorough.part import Attempt, Note, Part
from memstack.testing.thorough.run import Run, World
from memstack.testing.thorough.subject import Subject, folder_options

CODE = "from memstack.testing.thorough.kills import live; live()"
STARTING = 120.0
LONGEST = 0.3
"""Seconds that a process may use its memory until it is killed."""


class Kills(Part):
    """Processes that are killed while they use a memory in a folder."""

    name: ClassVar[str] = "kills"
    about: ClassVar[str] = "SIGKILL while the store lies in files"
    unit: ClassVar[str] = "kills"
    share: ClassVar[float] = 0.1
    torch_threads: ClassVar[int | None] = None
    each: ClassVar[int] = 5000

    def attempt(self, number: int, note: Note) -> Attempt:
        names = folder_options(self.subject.model)
        if not names:
            raise SkipTest("it keeps nothing in files: no option of it names a folder")
        random = Random(f"kills {self.seed} {number}")
        with tempfile.TemporaryDirectory(prefix="memstack-kill-") as folder:
            options = {**self.subject.given, **dict.fromkeys(names, folder)}
            world = World(drawn_shape(random), options)
            _killed({"backend": self.subject.backend, "options": options, "seed": self.seed, "number": number}, random)
            left = os.listdir(folder)
            ensure(not left, f"a process that was killed left {left} behind")
            run = Run(self.subject, world)
            for _ in range(3):
                do_change(run, random)
            run.look()
            ask_once(run, random)
            del run
        return Attempt(1, {"kills": 1})


def live() -> None:
    """Use a memory until this process is killed; says so once it has begun."""
    job = json.loads(sys.stdin.buffer.read())
    random = Random(f"kills {job['seed']} {job['number']}")
    run = Run(Subject(job["backend"]), World(drawn_shape(random), job["options"]))
    for number in itertools.count():
        do_change(run, random)
        if number == 0:
            sys.stdout.write("ready\n")
            sys.stdout.flush()


def _killed(job: dict[str, Any], random: Random) -> None:
    """Start a process that lives with a memory, and kill it at a random moment."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    line, pipe = [sys.executable, "-c", CODE], subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(job, default=str).encode())
        process.stdin.close()
        try:
            ready = select.select([process.stdout], [], [], STARTING)[0] and b"ready" in process.stdout.readline()
            time.sleep(random.uniform(0, LONGEST))
        finally:
            process.kill()
    ensure(bool(ready), "a process that should use a memory in files did not come to it")
