"""A wheel that holds the first pass's loop compiled: it is made by hatch_build.py, and taken where it was installed."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.first_pass import fresh, made, needs_kernel
from memstack_exact.cpu import compiler, first_pass, library, variants

from memstack import MemoryShape

SMALL = MemoryShape(rows=1, heads=1, key_dim=8, value_dim=1, capacity=64)
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    with fresh(monkeypatch, tmp_path / "cache"):
        yield


@needs_kernel
def test_what_a_wheel_holds_is_taken_and_needs_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    package = ROOT / builder.LOOP
    (tmp_path / "built").mkdir()
    (tmp_path / "native").symlink_to(package / "native")
    monkeypatch.setattr(builder, "_module", lambda path: compiler if path.stem == "compiler" else variants)
    files = builder.compiled(package, tmp_path / "built")
    monkeypatch.setattr(library, "files", lambda package: tmp_path)
    monkeypatch.setattr(compiler.shutil, "which", lambda name: None)
    here = library.runnable()
    assert {path.name.partition("-")[0] for path in files} >= {variants.PROCESSOR, *here}
    passed = made(SMALL, first_pass="int8").first_pass
    assert isinstance(passed, first_pass.CpuFirstPass)
    assert passed.variant == here[0]
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(library, "sources", lambda: {"first_pass.cpp": b"changed"})
    library.outcome.cache_clear()
    assert made(SMALL).first_pass is None
