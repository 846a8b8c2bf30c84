"""Entries of the cache that are mapped and not read: as sound, and as much the user's own, as those that are read."""

import logging
from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path
from typing import IO, Any

import pytest
from helpers.planted_entries import a_link_elsewhere, a_pipe, open_to_others

from memstack.contract.errors import CacheError
from memstack.plugins import disk_cache, kept, mapped
from memstack.plugins.disk_cache import Write

CONTENT = b"a long entry " * 5000


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    disk_cache._warn_once.cache_clear()
    folder = tmp_path / "cache"
    monkeypatch.setenv("MEMSTACK_CACHE", str(folder))
    return folder


def in_parts(write: Write) -> None:
    for start in range(0, len(CONTENT), 1000):
        write(memoryview(CONTENT)[start : start + 1000])


def refuse(write: Write) -> None:
    raise AssertionError("built again")


def test_an_entry_is_what_was_written_and_is_built_once(cache: Path) -> None:
    assert bytes(mapped("name", in_parts)) == CONTENT
    assert bytes(mapped("name", refuse)) == CONTENT
    assert kept("") == ["name"]
    assert (cache / "name").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("cache")
def test_what_is_changed_in_memory_changes_no_file() -> None:
    for build in (in_parts, refuse):
        entry = mapped("name", build)
        entry[:6] = b"xxxxxx"
        assert bytes(entry[:6]) == b"xxxxxx"
    assert bytes(mapped("name", refuse)) == CONTENT


def test_what_was_opened_stays_whatever_takes_its_name(cache: Path) -> None:
    entry = mapped("name", in_parts)
    (cache / "other").write_bytes(b"")
    (cache / "other").replace(cache / "name")
    assert bytes(entry) == CONTENT


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-3], lambda b: b"", lambda b: b[:20], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b + b"more"],
    ids=["cut", "empty", "within the digest", "a bit", "longer"],
)
def test_a_damaged_entry_is_made_again(cache: Path, damage: Callable[[bytes], bytes]) -> None:
    mapped("name", in_parts)
    sound = (cache / "name").read_bytes()
    (cache / "name").write_bytes(damage(sound))
    assert bytes(mapped("name", in_parts)) == CONTENT
    assert (cache / "name").read_bytes() == sound


@pytest.mark.parametrize("change", [open_to_others, a_link_elsewhere, a_pipe], ids=lambda change: change.__name__)
def test_what_others_could_have_written_is_made_again(
    cache: Path, change: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    mapped("name", lambda write: write(b"planted"))
    change(cache / "name")
    with caplog.at_level(logging.WARNING):
        assert bytes(mapped("name", in_parts)) == CONTENT
        assert bytes(mapped("name", refuse)) == CONTENT
    assert len(caplog.records) == 1


def test_in_a_folder_of_others_nothing_is_kept_and_all_is_mapped(cache: Path, tmp_path: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    for _ in range(2):
        assert bytes(mapped("name", in_parts)) == CONTENT
    assert list(cache.iterdir()) == []


def test_a_folder_opened_to_others_meanwhile_keeps_nothing(cache: Path) -> None:
    def build(write: Write) -> None:
        in_parts(write)
        cache.chmod(0o777)

    assert bytes(mapped("name", build)) == CONTENT
    assert list(cache.iterdir()) == []


def test_what_cannot_be_built_leaves_nothing(cache: Path) -> None:
    def build(write: Write) -> None:
        write(b"half")
        raise ArithmeticError("no more")

    with pytest.raises(ArithmeticError, match="no more"):
        mapped("name", build)
    assert list(cache.iterdir()) == []


def test_a_full_disk_is_said_and_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make: Any = disk_cache.tempfile.NamedTemporaryFile

    def full(**given: Any) -> IO[bytes]:
        file = make(**given)

        def write(content: object) -> int:
            raise OSError(ENOSPC, "No space left on device")

        file.write = write
        return file

    monkeypatch.setattr(disk_cache.tempfile, "NamedTemporaryFile", full)
    with pytest.raises(CacheError, match=f"the cache folder {cache} cannot be written .No space left.*MEMSTACK_CACHE"):
        mapped("name", in_parts)
    assert list(cache.iterdir()) == []
