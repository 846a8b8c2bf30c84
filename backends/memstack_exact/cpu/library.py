"""The compiled loop behind the first pass: built once a machine by whatever C++ compiler there is, called through C."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from memstack import BackendUnavailableError
from memstack.plugins import CacheError, cached

SOURCES = sorted((Path(__file__).parent / "native").iterdir())
FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-pthread")
COMPILERS = ("c++", "g++", "clang++")


class Store(ctypes.Structure):
    """All memories' rounded keys, as ``first_pass.cpp`` reads them."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("codes", "scale", "bounds")),
        *((name, ctypes.c_int64) for name in ("tiles", "groups", "heads", "capacity", "dim", "dtype")),
    )


def kernel() -> ctypes.CDLL:
    """Return the loop, or say why it cannot run here: BackendUnavailableError, with a cause if that can be mended."""
    found = outcome()
    if isinstance(found, ctypes.CDLL):
        return found
    raise BackendUnavailableError(str(found)) from found.__cause__


@functools.cache
def outcome() -> ctypes.CDLL | BackendUnavailableError:
    """The loop, compiled and loaded, or why not; found out once a process."""
    version = hashlib.sha256(" ".join((platform.system(), platform.machine(), *FLAGS)).encode())
    for source in SOURCES:
        version.update(source.read_bytes())
    try:
        return _declared(_loaded(_kept(f"first-pass-{version.hexdigest()}")))
    except BackendUnavailableError as error:
        return error
    except OSError as error:
        failed = BackendUnavailableError(
            f"first_pass = 'int8' is compiled at its first use, which failed ({str(error).splitlines()[0]}); "
            "first_pass = 'none' needs no compiler"
        )
        failed.__cause__ = error
        return failed


def _kept(name: str) -> bytes:
    try:
        return cached(name, _compiled)
    except CacheError:
        return _compiled()  # a few seconds, every time


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    if not library.available():
        raise BackendUnavailableError(
            "first_pass = 'int8' needs a processor with AVX-512 VNNI, which this one is not; set it to 'none'"
        )
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.write_keys.argtypes = [pointer, pointer, pointer, pointer, number, number, number]
    library.write_keys.restype = None
    library.threads_worth.argtypes, library.threads_worth.restype = [pointer, *[number] * 4], number
    library.parts.argtypes, library.parts.restype = [number, number, number], number
    library.search.argtypes = [*[pointer] * 4, *[number] * 5, pointer]
    return library


def _compiled() -> bytes:
    """The loop as a shared library, built in a folder of its own: processes that do so at once wait for no other."""
    candidates = (os.environ.get("CXX", ""), *COMPILERS)
    compiler = next((found for name in candidates if name and (found := shutil.which(name))), None)
    if compiler is None:
        raise OSError("there is no C++ compiler: install g++ or clang, or name one in CXX")
    main = next(str(source) for source in SOURCES if source.suffix == ".cpp")
    with TemporaryDirectory() as folder:
        library = Path(folder) / "first_pass.so"
        run = subprocess.run([compiler, *FLAGS, "-o", str(library), main], capture_output=True, text=True, check=False)
        if run.returncode:
            raise OSError(f"{compiler} said: {(run.stderr.strip() or f'exit status {run.returncode}').splitlines()[0]}")
        return library.read_bytes()


def _loaded(library: bytes) -> ctypes.CDLL:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "first_pass.so"
        path.write_bytes(library)
        return ctypes.CDLL(str(path))
