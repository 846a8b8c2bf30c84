"""A command line in a process of its own, from Python's start to its end, in whatever surroundings."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from campaign.forked import Done

MAIN = """\
import os, sys
sys.argv[0] = "memstack"
if name := os.environ.get("CAMPAIGN_PLANT"):
    from campaign.plants import PLANTS
    PLANTS[name]()
from memstack.cli.main import main
main()
"""
LIMIT = 90.0
"""Seconds within which every command tried here ends, on a busy machine too."""


@dataclass(frozen=True)
class Around:
    """What is around a process."""

    set: Mapping[str, str] = field(default_factory=dict[str, str])
    unset: tuple[str, ...] = ()
    before: Callable[[], None] = lambda: None
    """Called in the child, before Python starts."""
    stdout: str = ""
    """A file for standard output; nothing keeps it."""


def run(arguments: tuple[str, ...], folder: Path, around: Around, limit: float = LIMIT) -> Done:
    """Run a command line and wait for it; what hangs is stopped at the limit, with all it has started."""
    start = time.monotonic()
    out = open(around.stdout, "wb") if around.stdout else subprocess.PIPE  # noqa: SIM115
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments],
        cwd=folder,
        env=_environment(around),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=around.before,
    )
    code: int | None = None
    try:
        printed, said = process.communicate(timeout=limit)
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        printed, said = process.communicate()
    texts = [(text or b"").decode(errors="replace") for text in (printed, said)]
    return Done(arguments, code, texts[0], texts[1], "", time.monotonic() - start)


def _environment(around: Around) -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if name not in around.unset}
    # In full: the folder in which it is run may be another one, or none.
    own = (os.path.abspath(part) for part in mine.get("PYTHONPATH", "").split(os.pathsep) if part)
    path = os.pathsep.join(filter(None, (around.set.get("PYTHONPATH"), *own)))
    return mine | dict(around.set) | {"PYTHONPATH": path}
