"""Whatever C++ compiler there is, run so that neither what it says nor how it ends or hangs harms the process."""

import contextlib
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

COMPILERS = ("c++", "g++", "clang++")
LIMIT_S = 60.0
"""Seconds that a compiler may take, which needs a few of them."""
MOST_SAID = 1 << 20
"""Bytes that it may say: one that goes on and on fills a disk."""


def find() -> list[str] | None:
    """Return the command of a compiler, that in ``CXX`` before any other; None if there is none."""
    for name in (os.environ.get("CXX", ""), *COMPILERS):
        with contextlib.suppress(ValueError):  # quotes that do not close
            words = shlex.split(name)
            if words and (program := shutil.which(words[0])):
                return [program, *words[1:]]
    return None


def identity(command: Sequence[str]) -> str:
    """Return what changes when another compiler stands in this one's place."""
    program = Path(command[0]).resolve()
    with contextlib.suppress(OSError):
        found = program.stat()
        return f"{[*command]} {program} {found.st_size} {found.st_mtime_ns}"
    return f"{[*command]} {program}"


def digest(*parts: str | bytes) -> str:
    """Return 32 hex digits of SHA-256 over parts, each with its length."""
    total = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        total.update(len(content).to_bytes(8, "big") + content)
    return total.hexdigest()[:32]


def run(command: Sequence[str], folder: Path) -> None:
    """Run a compiler in a folder, which is its temporary one, too; OSError, in one line, says how it failed."""
    said = folder / "said"
    started = time.monotonic()
    with said.open("wb") as errors:
        process = subprocess.Popen(
            [*command],
            cwd=folder,
            env=os.environ | {"TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    try:
        while process.poll() is None:
            if time.monotonic() - started > LIMIT_S:
                raise OSError(f"{command[0]} had not ended after {LIMIT_S:.0f} s and was stopped; name another in CXX")
            if said.stat().st_size > MOST_SAID:
                raise OSError(f"{command[0]} went on complaining and was stopped; name another in CXX")
            time.sleep(0.02)
    finally:
        _end(process)
    if process.returncode:
        raise OSError(f"{command[0]} said: {_first_line(said) or _how_it_ended(process.returncode)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and all that it has started, so that none of them goes on when nobody waits any more."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _first_line(said: Path) -> str:
    """The first line that it said, whatever the bytes are."""
    with said.open("rb") as file:
        text = file.read(4096).decode(errors="replace").strip()
    line = text.splitlines()[0] if text else ""
    return "".join(each if each.isprintable() else "?" for each in line)


def _how_it_ended(code: int) -> str:
    return f"exit status {code}" if code > 0 else f"nothing, it was ended by signal {-code}"
