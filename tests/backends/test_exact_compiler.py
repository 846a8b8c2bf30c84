"""The first pass's compiler: whatever it does, a memory is made, and what it leaves is kept if it is sound."""

import ctypes
import hashlib
import logging
import os
import signal
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from helpers.first_pass import fresh, needs_kernel
from helpers.variants import variants as often
from memstack_exact import choice
from memstack_exact.cpu import compiler, library, loading, variants

from memstack import BackendUnavailableError, MemoryShape, create_memory
from memstack.plugins.disk_cache import DIGEST_SIZE

SMALL = MemoryShape(rows=1, heads=1, key_dim=8, value_dim=1, capacity=64)
SOURCES, LOADED = library.sources, library._loaded
CC = "cc -shared -fPIC -x c - -o first_pass.so"
ENDS = """
#include <signal.h>
__attribute__((constructor)) static void end() { raise(SIGILL); }
"""


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    with fresh(monkeypatch, tmp_path / "cache") as place:
        forget_all()
        yield place
        forget_all()


def forget_all() -> None:
    library.outcome.cache_clear()
    SOURCES.cache_clear()
    choice._log_once.cache_clear()


@pytest.fixture
def bad(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A compiler that does this; it notes the process of whatever it starts."""
    path = tmp_path / "bad-c++"
    path.write_text(f"#!/bin/sh\n{request.param}\n", encoding="latin-1")
    path.chmod(0o755)
    monkeypatch.setenv("CXX", str(path))
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setattr(compiler, "LIMIT_S", 1.0)
    monkeypatch.setattr(compiler, "MOST_SAID", 100_000)
    monkeypatch.setattr(loading, "LIMIT_S", 3.0)
    return path


def refusal() -> str:
    with pytest.raises(BackendUnavailableError) as caught:
        create_memory("exact", SMALL, first_pass="int8")
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


BAD = [
    ("sleep 100", "bad-c++ had not ended after 1 s and was stopped; name another in CXX"),
    ("yes warning >&2", "went on complaining and was stopped"),
    ("echo 'caf\xe9' >&2; exit 1", "bad-c++ said: caf\ufffd"),
    ("printf '\\033[31mred' >&2; exit 1", "bad-c++ said: ?[31mred"),
    ("exit 3", "bad-c++ said: exit status 3"),
    ("kill -9 $$", "bad-c++ said: nothing, it was ended by signal 9"),
    ("exit 0", "bad-c++ said that all was well, and wrote nothing"),
    ("for last; do :; done; mkdir first_pass.so", "said that all was well, and wrote nothing"),
    ("echo garbage > first_pass.so", "what was compiled cannot be loaded: "),
    (
        "echo 'int word() { return 1; }' | cc -shared -fPIC -x c - -o first_pass.so",
        "it has no function variants",
    ),
    (
        f"echo '{ENDS}' | cc -shared -fPIC -x c - -o first_pass.so",
        f"ends the process that loads it, by signal {signal.SIGILL:d}",
    ),
    (
        "echo 'void variants(char* names) { for (;;); }' | cc -shared -fPIC -x c - -o first_pass.so",
        "hangs when it is loaded",
    ),
]


@pytest.mark.parametrize(("bad", "said"), BAD, indirect=["bad"], ids=[said for _, said in BAD])
def test_a_bad_compiler_is_one_line_and_keeps_nothing(bad: Path, cache: Path, said: str) -> None:
    assert said in refusal()
    assert not cache.exists()


@pytest.mark.parametrize("bad", ["sleep 100"], indirect=True)
def test_by_default_a_bad_compiler_is_done_without_and_told_once(bad: Path, caplog: pytest.LogCaptureFixture) -> None:
    started = time.monotonic()
    create_memory("exact", SMALL)
    create_memory("exact", SMALL)
    assert time.monotonic() - started < 5
    [line] = [line for name, level, line in caplog.record_tuples if (name, level) == (choice.__name__, logging.WARNING)]
    assert "had not ended after 1 s" in line


@pytest.mark.parametrize("bad", ['sleep 100 & echo $! > "$NOTES"; wait'], indirect=True)
def test_all_that_a_compiler_has_started_is_ended(bad: Path, tmp_path: Path) -> None:
    refusal()
    child = int((tmp_path / "notes").read_text())
    for _ in range(100):
        try:
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":  # ended, and nobody has asked how
            return
        time.sleep(0.02)
    pytest.fail("it goes on")


@needs_kernel
@pytest.mark.parametrize("bad", ["printf 'caf\xe9\\n' >&2; exec c++ \"$@\""], indirect=True)
def test_a_warning_that_is_not_utf_8_harms_nothing(bad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "LIMIT_S", 60.0)
    assert isinstance(library.outcome(variants.PROCESSOR), ctypes.CDLL)


@needs_kernel
def test_a_compiler_may_be_a_command_with_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "env c++ -g0")
    found = compiler.find()
    assert found is not None
    assert found[1:] == ["c++", "-g0"]
    assert isinstance(library.outcome(variants.PROCESSOR), ctypes.CDLL)
    monkeypatch.setenv("CXX", "'unclosed")
    assert compiler.find() != found


@needs_kernel
def test_what_is_kept_is_used_even_when_the_compiler_has_gone(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    assert isinstance(library.outcome(variants.PROCESSOR), ctypes.CDLL)
    [entry] = cache.iterdir()
    forget_all()
    monkeypatch.setattr(compiler.shutil, "which", lambda name: None)
    assert isinstance(library.outcome(variants.PROCESSOR), ctypes.CDLL)
    assert [*cache.iterdir()] == [entry]


@needs_kernel
@pytest.mark.parametrize("content", often([b"", b"another system's", b"\x7fELF" + bytes(1000)], [b"another system's"]))
def test_a_kept_library_that_cannot_be_loaded_is_built_anew(cache: Path, content: bytes) -> None:
    """As one that was built on another system which shares the home."""
    assert isinstance(library.outcome(variants.PROCESSOR), ctypes.CDLL)
    [entry] = cache.iterdir()
    sound = entry.read_bytes()
    entry.write_bytes(hashlib.sha256(content).digest() + content)
    forget_all()
    assert isinstance(library.outcome(variants.PROCESSOR), ctypes.CDLL)
    assert len(entry.read_bytes()) == len(sound)


@needs_kernel
def test_what_never_loads_is_built_once_more_and_no_oftener(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(library.outcome(variants.PROCESSOR), ctypes.CDLL)
    forget_all()
    built: list[bytes] = []
    monkeypatch.setattr(library, "_compiled", lambda name: built.append(b"x") or b"x")

    def fail(name: str, content: bytes) -> None:
        raise OSError("GLIBC_9.9 not found")

    monkeypatch.setattr(library, "_loaded", fail)
    assert "GLIBC_9.9 not found" in refusal()
    assert built == [b"x"]


CHANGES = {
    "libc": lambda patch: patch.setattr(library.platform, "libc_ver", lambda: ("glibc", "1.0")),
    "system": lambda patch: patch.setattr(library.sysconfig, "get_platform", lambda: "linux-riscv64"),
    "compiler": lambda patch: patch.setattr(compiler, "identity", lambda command: "another"),
    "flags": lambda patch: patch.setattr(variants, "FLAGS", ("-O2",)),
    "sources": lambda patch: patch.setattr(library, "sources", lambda: {"first_pass.cpp": b""}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_system_has_another_name_for_its_library(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    before = library._name(variants.PLAIN)
    assert before == library._name(variants.PLAIN)
    CHANGES[change](monkeypatch)
    assert library._name(variants.PLAIN) != before


@needs_kernel
@pytest.mark.parametrize("why", ["no room", "no running of files"])
def test_a_temporary_folder_from_which_nothing_runs_is_done_without(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    real = ctypes.CDLL

    def refusing(path: str) -> ctypes.CDLL:
        if not path.startswith("/proc/self/fd/"):
            raise OSError(f"{path}: failed to map segment from shared object: {why}")
        return real(path)

    monkeypatch.setattr(loading.ctypes, "CDLL", refusing)
    content = library._compiled(variants.PLAIN)
    assert loading.load(content, ["word"]).word() == loading.load(content, ["word"]).word() == 2


def test_without_any_temporary_folder_it_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(library, "TemporaryDirectory", none)
    assert "No usable temporary directory found" in refusal()
    assert create_memory("exact", SMALL).shape == SMALL


def test_a_program_without_the_sources_does_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a frozen one; in a folder that is missing, and in one that is empty."""
    for made in (False, True):
        if made:
            (tmp_path / "native").mkdir()
        forget_all()
        monkeypatch.setattr(library, "files", lambda package: tmp_path)
        assert "its C++ files did not come with this program" in refusal()
        assert create_memory("exact", SMALL).shape == SMALL


@pytest.mark.parametrize("executable", ["/opt/program", "", None])
def test_a_program_that_is_not_python_is_not_started_to_try_a_library(
    monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    def started(*_: object, **named: object) -> None:
        raise AssertionError

    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(loading.subprocess, "run", started)
    loading.probe(b"garbage", ["word"])


@needs_kernel
def test_the_kept_library_is_for_the_user_alone(cache: Path) -> None:
    library.outcome(variants.PROCESSOR)
    [entry] = cache.iterdir()
    assert entry.stat().st_size > DIGEST_SIZE
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    assert entry.stat().st_uid == os.geteuid()


@needs_kernel
def test_a_planted_library_is_not_loaded(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its digest is right, and proves nothing."""
    library.outcome(variants.PROCESSOR)
    [entry] = cache.iterdir()
    entry.write_bytes(hashlib.sha256(b"planted").digest() + b"planted")
    cache.chmod(0o777)
    forget_all()
    loaded: list[Sequence[int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "_loaded", lambda name, content: loaded.append(content) or LOADED(name, content))
        assert isinstance(library.outcome(variants.PROCESSOR), ctypes.CDLL)
    assert b"planted" not in loaded
    assert f"others may write to {cache}: chmod go-w {cache}" in caplog.text
