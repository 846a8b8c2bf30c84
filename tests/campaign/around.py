"""Odd surroundings, each with what it sets and what it puts where."""

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from campaign import mounts
from campaign.real import Around

STRANGER = 54321
"""A user of no name and no home."""


@dataclass(frozen=True)
class Surrounding:
    """Something odd around a process, made for a case in its folder."""

    name: str
    make: Callable[[Path], Around]
    works: bool = True
    """Whether memstack does its work regardless; otherwise it may refuse, in one clear line."""


def _set(**values: str) -> Callable[[Path], Around]:
    """Set variables; ``{}`` is the case's folder, ``None`` as a text unsets."""

    def make(folder: Path) -> Around:
        given = {name: value.replace("{}", str(folder)) for name, value in values.items()}
        return Around(
            set={name: value for name, value in given.items() if value != "None"},
            unset=tuple(name for name, value in given.items() if value == "None"),
        )

    return make


def _module(name: str, text: str) -> Callable[[Path], Around]:
    """Put a module on the path."""

    def make(folder: Path) -> Around:
        place = folder.parent / "path"
        place.mkdir()
        (place / name).write_text(text, encoding="utf-8")
        return Around(set={"PYTHONPATH": str(place)})

    return make


def _metadata(name: str, **files: bytes) -> Callable[[Path], Around]:
    """Put a distribution's metadata on the path, whole or not."""

    def make(folder: Path) -> Around:
        place = folder.parent / "path"
        (place / name).mkdir(parents=True)
        for file, content in files.items():
            (place / name / file.replace("_txt", ".txt")).write_bytes(content)
        return Around(set={"PYTHONPATH": str(place)})

    return make


def _compiler(script: str) -> Callable[[Path], Around]:
    """Have another C++ compiler, and nothing compiled yet."""

    def make(folder: Path) -> Around:
        path = folder.parent / "compiler"
        path.write_bytes(b"#!/bin/sh\n" + script.encode("latin-1"))
        path.chmod(0o755)
        return Around(set={"CXX": str(path), "MEMSTACK_CACHE": str(folder / "fresh")})

    return make


def _limit(which: int, value: int) -> Callable[[Path], Around]:
    return lambda folder: Around(before=lambda: resource.setrlimit(which, (value, value)))


def _stranger(folder: Path) -> Around:
    """Be a user without a name and a home, who may read and write what this one may."""

    def become() -> None:
        mounts.be_user(STRANGER)

    return Around(unset=("HOME", "MEMSTACK_CACHE", "XDG_CACHE_HOME"), before=become)


def _no_folder(folder: Path) -> Around:
    """Stand in a folder that is gone."""
    gone = folder / "gone"
    gone.mkdir()

    def leave() -> None:
        os.chdir(gone)
        gone.rmdir()

    return Around(before=leave)


def _cache_is_a_file(folder: Path) -> Around:
    (folder / "cachefile").write_text("no folder", encoding="utf-8")
    return Around(set={"MEMSTACK_CACHE": str(folder / "cachefile")})


def _without_path(folder: Path) -> Around:
    return Around(set={"PATH": "", "MEMSTACK_CACHE": str(folder / "fresh")}, unset=("CXX",))


DEFAULT = "import torch\ntorch.set_default_{}({})\n"
SURROUNDINGS = (
    Surrounding("no HOME, no name, no cache: a container's user", _stranger),
    Surrounding("HOME is missing", _set(HOME="/nonexistent", MEMSTACK_CACHE="None", XDG_CACHE_HOME="None")),
    Surrounding("HOME is empty", _set(HOME="", MEMSTACK_CACHE="None", XDG_CACHE_HOME="None"), works=False),
    Surrounding("a distribution without metadata", _metadata("-oo-1.0.dist-info")),
    Surrounding(
        "torch's default dtype is bfloat16", _module("sitecustomize.py", DEFAULT.format("dtype", "torch.bfloat16"))
    ),
    Surrounding("the compiler hangs", _compiler("sleep 1000\n")),
    Surrounding("the cache is in the home of nobody", _set(MEMSTACK_CACHE="~nobody/cache")),
    Surrounding("the cache is in the home of no user", _set(MEMSTACK_CACHE="~no-such-user/cache"), works=False),
    Surrounding("the cache is a file", _cache_is_a_file, works=False),
    Surrounding("the cache is below a file", _set(MEMSTACK_CACHE="{}/notes.txt/below"), works=False),
    Surrounding("the cache cannot be made", _set(MEMSTACK_CACHE="/proc/nothing/here"), works=False),
    Surrounding("XDG_CACHE_HOME is a device", _set(MEMSTACK_CACHE="None", XDG_CACHE_HOME="/dev/null"), works=False),
    Surrounding("TMPDIR is missing", _set(TMPDIR="/nonexistent")),
    Surrounding(
        "LC_ALL=C, without UTF-8", _set(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="None")
    ),
    Surrounding("PYTHONIOENCODING=ascii", _set(PYTHONIOENCODING="ascii")),
    Surrounding("PYTHONIOENCODING=ascii:strict and TERM=dumb", _set(PYTHONIOENCODING="ascii:strict", TERM="dumb")),
    Surrounding("a locale that is not installed", _set(LC_ALL="xx_YY.UTF-8", LANG="zz")),
    Surrounding("one column", _set(COLUMNS="1")),
    Surrounding("COLUMNS is no number", _set(COLUMNS="many")),
    Surrounding("FORCE_COLOR", _set(FORCE_COLOR="1")),
    Surrounding(
        "metadata that is no text", _metadata("odd-1.0.dist-info", METADATA=b"\xff\xfe\0", entry_points_txt=b"\xff")
    ),
    Surrounding(
        "entry points that are no table",
        _metadata("odd-1.0.dist-info", METADATA=b"Name: odd\nVersion: 1\n", entry_points_txt=b"memstack = \n["),
    ),
    Surrounding(
        "a plugin whose module is missing",
        _metadata(
            "odd-1.0.dist-info", METADATA=b"Name: odd\nVersion: 1\n", entry_points_txt=b"[memstack]\nodd = nowhere\n"
        ),
    ),
    Surrounding(
        "a plugin without a name", _metadata("odd-1.0.dist-info", entry_points_txt=b"[memstack]\nodd = nowhere\n")
    ),
    Surrounding("no compiler", _without_path),
    Surrounding("the compiler fails, not in UTF-8", _compiler("printf 'caf\xe9: warning' >&2; exit 1\n")),
    Surrounding("the compiler writes nothing", _compiler("exit 0\n")),
    Surrounding(
        "the compiler writes what is no library", _compiler('for a; do [ "$p" = -o ] && echo no > "$a"; p=$a; done\n')
    ),
    Surrounding("no address space", _limit(resource.RLIMIT_AS, 3 << 30), works=False),
    Surrounding("40 open files", _limit(resource.RLIMIT_NOFILE, 40), works=False),
    Surrounding("a small stack", _limit(resource.RLIMIT_STACK, 1 << 20)),
    Surrounding(
        "torch's default dtype is float64", _module("sitecustomize.py", DEFAULT.format("dtype", "torch.float64"))
    ),
    Surrounding(
        "torch's default dtype is float16", _module("sitecustomize.py", DEFAULT.format("dtype", "torch.float16"))
    ),
    Surrounding(
        "torch's default device is meta", _module("sitecustomize.py", DEFAULT.format("device", "'meta'")), works=False
    ),
    Surrounding("torch's default device is cpu", _module("sitecustomize.py", DEFAULT.format("device", "'cpu'"))),
    Surrounding("python -OO", _set(PYTHONOPTIMIZE="2")),
    Surrounding("python's safe path", _set(PYTHONSAFEPATH="1", PYTHONDONTWRITEBYTECODE="1")),
    Surrounding("the folder is gone", _no_folder, works=False),
    Surrounding("numbers of threads that are none", _set(OMP_NUM_THREADS="many", MKL_NUM_THREADS="0")),
    Surrounding("a time zone that is none", _set(TZ="Nowhere/At/All")),
)
