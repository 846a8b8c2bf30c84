"""Which variant of the first pass's loop is taken: by the processor, whatever was compiled by another machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.first_pass import fresh, made, needs_kernel
from memstack_exact.cpu import first_pass, library, variants

from memstack import MemoryShape

SMALL = MemoryShape(rows=1, heads=1, key_dim=8, value_dim=1, capacity=64)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    with fresh(monkeypatch, tmp_path / "cache") as place:
        yield place


def taken() -> str:
    passed = made(SMALL, first_pass="int8").first_pass
    assert isinstance(passed, first_pass.CpuFirstPass)
    return passed.variant


def kept(cache: Path) -> set[str]:
    return {name for name in variants.VARIANTS if [*cache.glob(f"first-pass-{name}-*")]}


@needs_kernel
def test_machines_that_share_a_home_each_take_what_they_run(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first has compiled for itself, the second does not load; nor is it compiled anew for the first."""
    here = library.runnable()
    machines = [here, here[1:] or here, (variants.PLAIN,)]
    for names in (*machines, *machines):
        monkeypatch.setattr(library, "runnable", lambda names=names: names)
        library.outcome.cache_clear()
        assert taken() == names[0]
    assert kept(cache) == {names[0] for names in machines}
    assert len([*cache.iterdir()]) == len(kept(cache)) + 1  # and what tells them apart


def test_no_variant_is_compiled_for_the_machine_at_hand() -> None:
    """Not even where the command of the compiler says so: the last ``-march`` is what counts."""
    for kind, names in variants.MACHINES.items():
        for name in (variants.PROCESSOR, *names):
            options = variants.options(name, kind)
            assert [option for option in options if option.startswith("-march=")]
            assert not [option for option in options if "native" in option]
    assert {name for names in variants.MACHINES.values() for name in names} == {*variants.VARIANTS}
