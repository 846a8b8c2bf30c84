"""The cache: without a home folder it is done without, and what others may have written is not believed."""

import logging
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.planted_entries import a_link_elsewhere, a_pipe, open_to_others

from memstack import MemoryShape, create_memory
from memstack.contract.errors import CacheError, ConfigError
from memstack.plugins import cached, disk_cache, forget, kept, trust
from memstack.plugins.paths import in_full, read_ordinary

STRANGER = 54321
Warned = Callable[[], list[str]]
"""Gives the warnings so far."""


@pytest.fixture(autouse=True)
def warned(caplog: pytest.LogCaptureFixture) -> Iterator[Warned]:
    disk_cache._warn_once.cache_clear()
    caplog.set_level(logging.WARNING, logger=disk_cache.__name__)
    yield lambda: [line for name, _, line in caplog.record_tuples if name == disk_cache.__name__]
    disk_cache._warn_once.cache_clear()


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "above" / "cache"
    monkeypatch.setenv("MEMSTACK_CACHE", str(folder))
    return folder


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of a container: a number without a name."""

    def nobody(_: object) -> None:
        raise KeyError

    for name in ("HOME", "MEMSTACK_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)


def built(*contents: bytes) -> Callable[[], bytes]:
    """Builds these, one after the other, and nothing after that."""
    left = list(contents)
    return lambda: left.pop(0)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_folder_there_is_no_cache_and_a_word_about_it(warned: Warned) -> None:
    build = built(b"one", b"two")
    assert [cached("name", build), cached("name", build)] == [b"one", b"two"]
    assert kept("name") == []
    [line] = warned()
    assert "no home folder is known for '~'" in line
    assert line.endswith("in MEMSTACK_CACHE")


@pytest.mark.usefixtures("homeless")
def test_without_a_home_folder_a_memory_is_made(tmp_path: Path) -> None:
    memory = create_memory("exact", MemoryShape(rows=1, heads=1, key_dim=4, value_dim=4, capacity=8))
    memory.add(torch.eye(4)[None, None], torch.eye(4)[None, None])
    assert bool(memory.search(torch.eye(4)[None, None], 1).mask.all())


@pytest.mark.parametrize("variable", ["MEMSTACK_CACHE", "XDG_CACHE_HOME"])
@pytest.mark.parametrize("path", ["~nobody-such", "~nobody-such/below"])
def test_a_cache_in_the_home_of_nobody_is_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MEMSTACK_CACHE", raising=False)
    monkeypatch.setenv(variable, path)
    assert cached("name", built(b"one")) == b"one"
    assert "~nobody-such" not in os.listdir(tmp_path)


def test_a_relative_xdg_cache_home_is_ignored_as_its_specification_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MEMSTACK_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert disk_cache.cache_folder() == tmp_path / ".cache" / "memstack"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "absolute"))
    assert disk_cache.cache_folder() == tmp_path / "absolute" / "memstack"


@pytest.mark.parametrize("path", ["~nobody-such/x", "~\0"])
def test_a_path_in_the_home_of_nobody_is_one_line(path: str) -> None:
    with pytest.raises(ConfigError, match=r"data.corpus: no home folder is known for '~.*; write it in full") as caught:
        in_full(path, "data.corpus")
    assert "\n" not in str(caught.value)


def test_the_cache_is_for_the_user_alone(cache: Path) -> None:
    cached("name", built(b"one"))
    assert [stat.S_IMODE(each.stat().st_mode) for each in (cache.parent, cache, cache / "name")] == [
        0o700,
        0o700,
        0o600,
    ]


def others_may_write(cache: Path) -> None:
    cache.chmod(0o777)


def the_group_may_write(cache: Path) -> None:
    cache.chmod(0o775)


def above_others_may_write(cache: Path) -> None:
    cache.parent.chmod(0o777)


def another_users(cache: Path) -> None:
    os.chown(cache, STRANGER, STRANGER)


def another_users_above(cache: Path) -> None:
    os.chown(cache.parent, STRANGER, STRANGER)


def through_another_users_link(cache: Path) -> None:
    cache.rename(cache.parent / "moved")
    cache.symlink_to(cache.parent / "moved")
    os.lchown(cache, STRANGER, STRANGER)


def through_an_open_folder(cache: Path) -> None:
    between = cache.parent / "between"
    between.mkdir(mode=0o777)
    between.chmod(0o777)
    cache.rename(cache.parent / "moved")
    (between / "link").symlink_to(cache.parent / "moved")
    cache.symlink_to(between / "link")


def round_a_circle(cache: Path) -> None:
    cache.rename(cache.parent / "moved")
    cache.symlink_to(cache)


FOLDERS = [
    others_may_write,
    the_group_may_write,
    above_others_may_write,
    another_users,
    another_users_above,
    through_another_users_link,
    through_an_open_folder,
    round_a_circle,
]


def need_root(change: Callable[[Path], None]) -> None:
    if "another" in change.__name__ and os.geteuid() != 0:
        pytest.skip("only root gives a file to another user")


@pytest.mark.parametrize("change", FOLDERS, ids=lambda change: change.__name__)
def test_a_planted_folder_is_not_used_and_that_is_said_once(
    cache: Path, warned: Warned, change: Callable[[Path], None]
) -> None:
    need_root(change)
    cached("name", built(b"planted"))
    change(cache)
    build = built(b"one", b"two")
    assert [cached("name", build), cached("name", build)] == [b"one", b"two"]
    assert kept("") == []
    [line] = warned()
    assert "chmod go-w" in line or "choose" in line


def another_users_entry(entry: Path) -> None:
    os.chown(entry, STRANGER, STRANGER)


@pytest.mark.parametrize(
    "change", [open_to_others, another_users_entry, a_link_elsewhere, a_pipe], ids=lambda change: change.__name__
)
def test_a_planted_entry_is_made_again(cache: Path, warned: Warned, change: Callable[[Path], None]) -> None:
    need_root(change)
    cached("name", built(b"planted"))
    change(cache / "name")
    assert cached("name", built(b"made")) == b"made"
    assert cached("name", built()) == b"made"
    assert len(warned()) == 1
    assert not (cache / "name").is_symlink()


def test_a_sticky_folder_above_is_as_good_as_tmp(cache: Path, warned: Warned) -> None:
    cached("name", built(b"one"))
    cache.parent.chmod(0o1777)
    assert cached("name", built()) == b"one"
    assert warned() == []


def test_ones_own_link_to_another_disk_is_followed(cache: Path, tmp_path: Path, warned: Warned) -> None:
    """As homes are laid out whose cache lies on a scratch disk."""
    (tmp_path / "scratch").mkdir()
    cache.parent.mkdir()
    cache.symlink_to(os.path.relpath(tmp_path / "scratch", cache.parent))
    cached("name", built(b"one"))
    assert cached("name", built()) == b"one"
    assert warned() == []


def test_a_folder_made_by_others_in_the_meantime_is_not_written_to(
    cache: Path, warned: Warned, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build() -> bytes:
        cache.mkdir(parents=True)
        cache.chmod(0o777)
        return b"one"

    assert cached("name", build) == b"one"
    assert list(cache.iterdir()) == []
    assert len(warned()) == 1


def test_where_files_have_no_owners_nothing_is_doubted(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "geteuid")
    cached("name", built(b"one"))
    cache.chmod(0o777)
    assert trust.doubt_about(cache) is None
    assert cached("name", built()) == b"one"


def test_an_entry_is_forgotten(cache: Path) -> None:
    cached("name", built(b"one"))
    assert kept("na") == ["name"]
    forget("name")
    forget("never kept")
    assert cached("name", built(b"two")) == b"two"


def test_a_cache_that_cannot_be_written_is_said(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.parent.write_text("")
    with pytest.raises(CacheError, match="Not a directory"):
        cached("name", built(b"one"))


@pytest.mark.parametrize(
    ("path", "reason"),
    [(".", "folder"), ("/dev/zero", "device"), ("pipe", "pipe"), ("a\0b", "NUL"), ("long", "longer")],
)
def test_what_is_no_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("long").write_bytes(bytes(11))
    with pytest.raises(OSError, match=reason):
        read_ordinary(Path(path), 10)
