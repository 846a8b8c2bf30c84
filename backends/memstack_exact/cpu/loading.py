"""A compiled library is loaded from a copy of its own, after another process has shown that it can be.

This file alone is also the program of that other process, so that it imports nothing of memstack.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

BEGUN, SOUND = "begun", "sound"
LIMIT_S = 30.0


def load(content: bytes, functions: Sequence[str]) -> ctypes.CDLL:
    """Return a library; OSError if these bytes are none, or lack one of these functions.

    The copy lies where nobody else writes, so that what was looked at is what is loaded.
    """
    try:
        with TemporaryDirectory() as folder:
            path = os.path.join(folder, "first_pass.so")
            with open(path, "wb") as file:
                file.write(content)
            library = ctypes.CDLL(path)
    except OSError:
        library = _from_memory(content)
    if missing := [name for name in functions if not hasattr(library, name)]:
        raise OSError(f"it has no function {missing[0]}")
    return library


def probe(content: bytes, functions: Sequence[str]) -> None:
    """Load a library in another process, which it may end; OSError says how it failed.

    Where no such process can be started, as from a frozen program, nothing is tried.
    """
    source = _own_source()
    # The executable of a frozen program, or of one with Python inside, is that program: it would start anew.
    if not source or getattr(sys, "frozen", False) or "python" not in os.path.basename(sys.executable or "").lower():
        return
    line = [sys.executable, "-I", "-S", "-c", f"{source}\nanswer({[*functions]})"]
    try:
        done = subprocess.run(line, input=content, capture_output=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise OSError("what was compiled hangs when it is loaded") from None
    except OSError:
        return
    said = done.stdout.decode(errors="replace").split()
    if BEGUN not in said or SOUND in said:
        return
    if done.returncode < 0:
        raise OSError(f"what was compiled ends the process that loads it, by signal {-done.returncode}")
    reason = (done.stderr.decode(errors="replace").strip() or "it says nothing").splitlines()[-1]
    raise OSError(f"what was compiled cannot be loaded: {reason}")


def answer(functions: Sequence[str]) -> None:
    """What the other process does: load the bytes of standard input, call them once, and say that they are sound."""
    print(BEGUN, flush=True)  # noqa: T201 - to the process that asked
    getattr(load(sys.stdin.buffer.read(), functions), functions[0])(ctypes.create_string_buffer(64))
    print(SOUND, flush=True)  # noqa: T201


def _own_source() -> str | None:
    """The text of this file, also from a zip; None if it came without."""
    spec = sys.modules[__name__].__spec__
    loader: Any = spec.loader if spec else None
    try:
        return loader.get_source(__name__) if hasattr(loader, "get_source") else None
    except (ImportError, OSError):
        return None


def _from_memory(content: bytes) -> ctypes.CDLL:
    """For a temporary folder that is full, or from which nothing may be run."""
    if not hasattr(os, "memfd_create"):
        raise OSError("no temporary folder is there to load it from: name one in TMPDIR")
    # It stays open: the next one that is loaded would else have its name, and be taken for this one.
    descriptor = os.memfd_create("first_pass")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    try:
        return ctypes.CDLL(f"/proc/self/fd/{descriptor}")
    except OSError:
        os.close(descriptor)
        raise
