"""The variants of the loop: what each is compiled with, and by which name it is known. Imports nothing of memstack.

Each is a library of its own, so that none holds an instruction, in a template of the standard library say, that
another's processor lacks. What a library is depends on its sources and these options, never on the processor that it
was compiled on.
"""

import platform
from collections.abc import Mapping

FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-pthread")
PROCESSOR = "processor"
"""The library that knows which variants the processor runs."""
PLAIN = "plain"

_X86 = ("-mavx2", "-mbmi", "-mfma", "-mf16c", "-mpopcnt")
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "avx512vnni": (*_X86, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni"),
    "avxvnni": (*_X86, "-mavxvnni"),
    "avx2": _X86,
    "i8mm": ("-march=armv8.2-a+dotprod+i8mm",),
    "dotprod": ("-march=armv8.2-a+dotprod",),
    PLAIN: (),
}
"""By name, the best of a kind of processor first, and what a compiler has to be told to use its instructions."""
MACHINES: Mapping[str, tuple[str, ...]] = {
    "x86_64": ("avx512vnni", "avxvnni", "avx2", PLAIN),
    "aarch64": ("i8mm", "dotprod", PLAIN),
}
"""Those that are shipped in a wheel for such processors."""
_LEAST: Mapping[str, tuple[str, ...]] = {
    "x86_64": ("-march=x86-64", "-mtune=generic"),
    "aarch64": ("-march=armv8-a",),
}
"""What all of a kind run, whatever the compiler's own default is, or that in ``CXX``, such as ``-march=native``."""


def machine() -> str:
    """Return what kind of processor this is, by the name that Linux has for it."""
    name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


def options(library: str, kind: str = "") -> tuple[str, ...]:
    """Return the options by which a variant, or PROCESSOR, is compiled, for a kind of processor or for this one."""
    flags = (*FLAGS, *_LEAST.get(kind or machine(), ()))
    return flags if library == PROCESSOR else (*flags, *VARIANTS[library], f"-DMEMSTACK_{library.upper()}")


def main_source(library: str) -> str:
    """Return the name of the file that is compiled; others are included in it."""
    return "processor.cpp" if library == PROCESSOR else "first_pass.cpp"


def recipe(library: str, sources: Mapping[str, bytes]) -> tuple[str | bytes, ...]:
    """Return all that decides what a library is, but for the compiler and the system."""
    return (library, *options(library), *(part for source in sources.items() for part in source))


def shipped_name(library: str, digest: str) -> str:
    """Return the name of the file in which a wheel holds a library, by its recipe's digest."""
    return f"{library}-{digest}.so"
