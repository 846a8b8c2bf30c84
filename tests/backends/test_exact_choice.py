"""Whether exact search takes its 8-bit first pass on a CPU: by the option, the store, and what the machine can."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.first_pass import made, needs_kernel
from helpers.hard_keys import random
from memstack_exact import choice
from memstack_exact.cpu import compiler, first_pass, library, variants
from torch import Tensor

from memstack import BackendUnavailableError, ConfigError, MemoryShape, create_memory
from memstack.contract.errors import MemstackError


def no_room() -> Tensor:
    raise OSError("no space left on device")


def broken_compiler() -> bytes:
    raise OSError("c++ said: no such header\nat all")


def no_compiler() -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler.shutil, "which", lambda name: None)
        return COMPILED(variants.PROCESSOR)


def failing_compiler() -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variants, "FLAGS", ("--no-such-flag",))
        return COMPILED(variants.PROCESSOR)


COMPILED = library._compiled


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """A machine on which the loop cannot be had."""
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path))
    monkeypatch.setattr(library, "_compiled", lambda name: request.param())
    monkeypatch.setattr(library, "_loaded", lambda name, content: request.param())
    library.outcome.cache_clear()
    yield
    library.outcome.cache_clear()


SMALL = MemoryShape(rows=1, heads=1, key_dim=8, value_dim=1, capacity=64)
Logged = Callable[[], list[tuple[int, str]]]
"""Gives the levels and lines that the choice of a first pass has logged."""


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    choice._log_once.cache_clear()
    caplog.set_level(logging.INFO, logger=choice.__name__)
    return lambda: [(level, line) for name, level, line in caplog.record_tuples if name == choice.__name__]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (broken_compiler, "failed (c++ said: no such header); first_pass = 'none' needs no compiler"),
        (no_compiler, "install g++ or clang, or name one in CXX"),
        (failing_compiler, "--no-such-flag"),
    ],
    indirect=["broken"],
)
@pytest.mark.usefixtures("broken")
def test_where_it_cannot_run_that_is_one_line(message: str) -> None:
    with pytest.raises(BackendUnavailableError) as caught:
        create_memory("exact", SMALL, first_pass="int8")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("broken", [no_compiler], indirect=True)
@pytest.mark.usefixtures("broken")
def test_by_default_a_machine_that_cannot_searches_without_it_and_says_why_once(logged: Logged) -> None:
    memory, another = made(SMALL), made(SMALL)
    memory.add(random(1, 1, 64, 8), random(1, 1, 64, 1))
    assert bool(memory.search(random(1, 1, 3, 8), 4).mask.all())
    assert memory.first_pass is None
    assert another.first_pass is None
    [(level, reason)] = logged()
    assert level == logging.WARNING
    assert "install g++ or clang" in reason


@needs_kernel
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8"])
def test_by_default_it_is_taken(dtype: str) -> None:
    assert isinstance(made(SMALL, dtype=dtype).first_pass, first_pass.CpuFirstPass)


@needs_kernel
def test_a_variant_may_be_named_and_one_that_does_not_run_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSTACK_FIRST_PASS", "plain")
    passed = made(SMALL).first_pass
    assert isinstance(passed, first_pass.CpuFirstPass)
    assert passed.variant == "plain"
    monkeypatch.setenv("MEMSTACK_FIRST_PASS", "avx3")
    with pytest.raises(
        ConfigError, match=r"MEMSTACK_FIRST_PASS = 'avx3' is no variant that runs here: name one of .*plain"
    ):
        made(SMALL)


def test_a_first_pass_that_cannot_be_is_refused_in_a_line() -> None:
    with pytest.raises(BackendUnavailableError, match="on a CPU it is 'int8'"):
        create_memory("exact", SMALL, first_pass="bfloat16")
    with pytest.raises(MemstackError, match="on meta re-scores keys in full, which dtype = 'int8' has not"):
        create_memory("exact", SMALL, first_pass="int8", dtype="int8", device="meta")


@needs_kernel
def test_codes_lie_where_the_store_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Logged) -> None:
    """In files, where more is stored than memory holds; where those do not fit, it does without."""
    whole, in_files = (create_memory("exact", SMALL, folder=folder) for folder in (None, tmp_path))
    for memory in (whole, in_files):
        memory.add(random(1, 1, 100, 8), random(1, 1, 100, 1))
    queries = random(1, 1, 5, 8)
    assert torch.equal(whole.search(queries, 4).positions, in_files.search(queries, 4).positions)
    folders = []
    monkeypatch.setattr(first_pass, "new_zeros", lambda size, dtype, store: folders.append(store.folder) or no_room())
    memory = made(SMALL, folder=tmp_path)
    assert folders == [tmp_path]
    assert memory.first_pass is None
    [(_, reason)] = logged()
    assert "GB beside the store" in reason
