"""The compiled loop behind the first pass, called through C: shipped, or built once by whatever C++ compiler there is.

It is compiled in variants, for the instructions of some processors each. A small library that any processor runs says
which of them this one does, and the best is taken, whatever was compiled or kept by other machines that share the home.
``MEMSTACK_FIRST_PASS`` names another, to try or to measure it.
"""

import contextlib
import ctypes
import functools
import os
import platform
import sysconfig
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from memstack import BackendUnavailableError, ConfigError
from memstack.plugins import CacheError, cached, forget, kept
from memstack_exact.cpu import compiler, loading, variants

NAME = "first_pass.so"
VARIABLE = "MEMSTACK_FIRST_PASS"
FUNCTIONS = ("word", "write_keys", "search")


class Store(ctypes.Structure):
    """All memories' rounded keys, as ``first_pass.cpp`` reads them."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("codes", "scale", "bounds", "centre", "stored_scale")),
        *((name, ctypes.c_int64) for name in ("tiles", "groups", "heads", "capacity", "dim", "dtype")),
    )


def kernel(variant: str) -> ctypes.CDLL:
    """Return the loop in that variant, or say why it cannot run here: BackendUnavailableError, with its cause."""
    return _got(variant)


def runnable() -> tuple[str, ...]:
    """Return the names of the variants that this processor runs and a compiler here compiles, the best first.

    Raises BackendUnavailableError if there is no compiler to find that out, nor was it kept.
    """
    names = ctypes.create_string_buffer(64)
    _got(variants.PROCESSOR).variants(names)
    return tuple(names.value.decode().split())


def chosen() -> str:
    """Return the name of the variant to use: the best, or that in ``MEMSTACK_FIRST_PASS``. Raises ConfigError."""
    found, wanted = runnable(), os.environ.get(VARIABLE)
    if wanted and wanted not in found:
        raise ConfigError(f"{VARIABLE} = {wanted!r} is no variant that runs here: name one of {', '.join(found)}")
    return wanted or found[0]


def _got(library: str) -> ctypes.CDLL:
    found = outcome(library)
    if isinstance(found, ctypes.CDLL):
        return found
    raise BackendUnavailableError(str(found)) from found.__cause__


@functools.cache
def outcome(library: str) -> ctypes.CDLL | BackendUnavailableError:
    """A library, compiled and loaded, or why not; found out once a process."""
    try:
        return _library(library)
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


def _library(library: str) -> ctypes.CDLL:
    """A library as it was shipped or is kept; if that cannot be loaded, built and kept anew, once."""
    if shipped := _shipped(library):
        with contextlib.suppress(OSError):  # for another system
            return _loaded(library, shipped)
    build = functools.cache(functools.partial(_compiled, library))
    name = _name(library)
    try:
        return _loaded(library, _kept(name, build))
    except OSError:
        if build.cache_info().misses:
            raise
    forget(name)
    return _loaded(library, _kept(name, build))


def _shipped(library: str) -> bytes | None:
    """What a wheel holds of it, made from these very sources."""
    with contextlib.suppress(OSError, ImportError, TypeError, ValueError):
        name = variants.shipped_name(library, compiler.digest(*variants.recipe(library, sources())))
        return (files("memstack_exact.cpu") / "built" / name).read_bytes()
    return None


def _name(library: str) -> str:
    """What a kept library is called: by all that decides what it is, and by the system it runs on.

    The compiler stands last: where it has gone, what it left is still of use.
    """
    system = (sysconfig.get_platform(), str(sysconfig.get_config_var("HOST_GNU_TYPE")), *platform.libc_ver())
    place = f"first-pass-{library}-{compiler.digest(*system, *variants.recipe(library, sources()))}-"
    command = compiler.find()
    if command is None:
        return next(iter(kept(place)), place)
    return f"{place}{compiler.digest(compiler.identity(command))}"


def _kept(name: str, build: Callable[[], bytes]) -> bytes:
    try:
        return cached(name, build)
    except CacheError:
        return build()  # a few seconds, every time


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.word.argtypes, library.word.restype = [], number
    library.write_keys.argtypes = [pointer, pointer, pointer, pointer, number, number, number]
    library.write_keys.restype = None
    library.search.argtypes = [*[pointer] * 5, *[number] * 4, pointer, pointer]
    return library


def _functions(library: str) -> tuple[str, ...]:
    return ("variants",) if library == variants.PROCESSOR else FUNCTIONS


def _compiled(library: str) -> bytes:
    """A library's bytes, built in a folder of its own: processes that do so at once wait for no other."""
    command = compiler.find()
    if command is None:
        raise OSError("there is no C++ compiler: install g++ or clang, or name one in CXX")
    with TemporaryDirectory() as name:
        folder = Path(name)
        for source, content in sources().items():
            (folder / source).write_bytes(content)
        compiler.run([*command, *variants.options(library), "-o", NAME, variants.main_source(library)], folder)
        made = folder / NAME
        built = made.read_bytes() if made.is_file() else b""
    if not built:
        raise OSError(f"{command[0]} said that all was well, and wrote nothing")
    loading.probe(built, _functions(library))
    return built


def _loaded(library: str, content: bytes) -> ctypes.CDLL:
    found = loading.load(content, _functions(library))
    return found if library == variants.PROCESSOR else _declared(found)


def _first_line(error: OSError) -> str:
    return (str(error) or repr(error)).splitlines()[0]
