"""The compiled loop behind the first pass: built once a machine by whatever C++ compiler there is, called through C."""

import ctypes
import functools
import platform
import sysconfig
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from memstack import BackendUnavailableError
from memstack.plugins import CacheError, cached, forget, kept
from memstack_exact.cpu import compiler, loading

FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-pthread")
NAME = "first_pass.so"


class Store(ctypes.Structure):
    """All memories' rounded keys, as ``first_pass.cpp`` reads them."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("codes", "scale", "bounds", "centre")),
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
    try:
        return _library()
    except BackendUnavailableError as error:
        return error
    except OSError as error:
        failed = BackendUnavailableError(
            f"first_pass = 'int8' is compiled at its first use, which failed ({_first_line(error)}); "
            "first_pass = 'none' needs no compiler"
        )
        failed.__cause__ = error
        return failed


@functools.cache
def sources() -> Mapping[str, bytes]:
    """The loop's C++ files by name, wherever the package lies; OSError if it came without them."""
    try:
        folder = files("memstack_exact.cpu") / "native"
        found = {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}
    except (OSError, ImportError, TypeError, ValueError):  # a program that was frozen, or a half of the package
        found = {}
    if not any(name.endswith(".cpp") for name in found):
        raise OSError("its C++ files did not come with this program: install memstack with pip")
    return dict(sorted(found.items()))


def _library() -> ctypes.CDLL:
    """The loop as it is kept; if that cannot be loaded, built and kept anew, once."""
    build = functools.cache(_compiled)
    name = _name()
    try:
        return _declared(_loaded(_kept(name, build)))
    except OSError:
        if build.cache_info().misses:
            raise
    forget(name)
    return _declared(_loaded(_kept(name, build)))


def _name() -> str:
    """What the kept library is called: by all that decides what it is, and by the system and processor it runs on.

    The compiler stands last: where it has gone, what it left is still of use.
    """
    system = (sysconfig.get_platform(), str(sysconfig.get_config_var("HOST_GNU_TYPE")), *platform.libc_ver())
    place = compiler.digest(*system, _processor(), *FLAGS, *(part for source in sources().items() for part in source))
    command = compiler.find()
    if command is None:
        return next(iter(kept(f"first-pass-{place}-")), f"first-pass-{place}-")
    return f"first-pass-{place}-{compiler.digest(compiler.identity(command))}"


def _processor() -> str:
    """What the processor is and can, of the first of them; as much of that as the system tells."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(line for line in first if line.startswith(("model", "vendor", "flags", "Features", "CPU ")))


def _kept(name: str, build: Callable[[], bytes]) -> bytes:
    try:
        return cached(name, build)
    except CacheError:
        return build()  # a few seconds, every time


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    if not library.available():
        raise BackendUnavailableError(
            "first_pass = 'int8' needs a processor with AVX-512 VNNI, which this one is not; set it to 'none'"
        )
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.write_keys.argtypes = [pointer, pointer, pointer, pointer, number, number, number]
    library.write_keys.restype = None
    library.centre_keys.argtypes = [pointer, pointer, pointer, pointer, number, number]
    library.centre_keys.restype = None
    library.threads_worth.argtypes, library.threads_worth.restype = [pointer, *[number] * 4], number
    library.parts.argtypes, library.parts.restype = [number, number, number], number
    library.search.argtypes = [*[pointer] * 4, *[number] * 5, pointer, pointer]
    return library


def _compiled() -> bytes:
    """The loop as a shared library, built in a folder of its own: processes that do so at once wait for no other."""
    command = compiler.find()
    if command is None:
        raise OSError("there is no C++ compiler: install g++ or clang, or name one in CXX")
    with TemporaryDirectory() as name:
        folder = Path(name)
        for source, content in sources().items():
            (folder / source).write_bytes(content)
        main = next(source for source in sources() if source.endswith(".cpp"))
        compiler.run([*command, *FLAGS, "-o", NAME, main], folder)
        made = folder / NAME
        library = made.read_bytes() if made.is_file() else b""
    if not library:
        raise OSError(f"{command[0]} said that all was well, and wrote nothing")
    loading.probe(library)
    return library


def _loaded(library: bytes) -> ctypes.CDLL:
    return loading.load(library)


def _first_line(error: OSError) -> str:
    return (str(error) or repr(error)).splitlines()[0]
