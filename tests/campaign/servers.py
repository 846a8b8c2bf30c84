"""Processes that have imported everything, have one thread, and fork a child for each check they are asked to run."""

import atexit
import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
"""A process that forks may have no other threads, and a loss to the bit needs their number to be the same."""


class Server:
    """A process that is asked for checks, one after the other."""

    def __init__(self) -> None:
        path = os.pathsep.join((str(ROOT / "tests"), str(ROOT)))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "MEMSTACK_"))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "campaign", "--serve"],
            cwd=ROOT,
            env=inherited | ONE_THREAD | {"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self.close)

    def ask(self, asked: Mapping[str, Any]) -> str:
        """Have something done, and wait for it; returns what was said on standard error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(dict(asked)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        return json.loads(line) if line else f"the process that runs checks ended with {self._process.wait()}"

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()


_OWN = threading.local()


def mine() -> Server:
    """Return the server of this thread."""
    if not hasattr(_OWN, "server"):
        _OWN.server = Server()
    return _OWN.server


def serve(do: Callable[[Mapping[str, Any]], None]) -> None:
    """Do what is asked on standard input, each in a child, until that is closed."""
    for line in sys.stdin:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
            pid = os.fork()
            if not pid:
                _be_child(lambda: do(json.loads(line)), said.fileno())  # noqa: B023 - called at once
            os.waitpid(pid, 0)
            said.seek(0)
            sys.stdout.write(json.dumps(said.read()) + "\n")
            sys.stdout.flush()


def _be_child(work: Callable[[], None], said: int) -> None:
    """Do it and end, whatever happens: nothing of the parent's stack runs again."""
    try:
        for number in (1, 2):
            os.dup2(said, number)
        work()
    except BaseException:  # noqa: BLE001 - the parent is told
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
