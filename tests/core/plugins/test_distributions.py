"""What is installed is named by its distribution: nothing of it is imported, its files are read as a list of names."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from memstack.plugins import distributions

RECORD = """
whole/__init__.py,sha256=x,1
whole/inner/__init__.py,,
alone.py,,
"quoted, with a comma/__init__.py",sha256=x,1
data/only.txt,,
some-1.0.dist-info/RECORD,,
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed distributions."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    distributions._by_package.cache_clear()
    yield tmp_path
    distributions._by_package.cache_clear()


def install(folder: Path, name: str, **files: str) -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    for file, text in {"METADATA": f"Name: {name}\nVersion: 1.0\n", **files}.items():
        (info / file.replace("_txt", ".txt")).write_text(text)


def test_a_package_is_named_by_what_its_files_say(folder: Path) -> None:
    install(folder, "some", RECORD=RECORD)
    install(folder, "other", RECORD="whole/more.py,,\n")
    install(folder, "declared", RECORD="lib/x.py,,\n", top_level_txt="named\n")
    install(folder, "damaged", RECORD='"unclosed\nbroken.py')
    assert distributions.providers("whole") == ["other 1.0", "some 1.0"]
    for package in ("alone", "quoted, with a comma"):
        assert distributions.providers(package) == ["some 1.0"]
    assert distributions.providers("named") == ["declared 1.0"]
    for unclaimed in ("data", "lib", "nowhere"):
        assert distributions.providers(unclaimed) == [unclaimed]


def test_a_distribution_without_a_list_of_files_is_asked_for_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was installed in another way than by a wheel."""
    info = folder / "old.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Name: old\nVersion: 2.0\n")
    (info / "SOURCES.txt").write_text("setup.py\nold_package/__init__.py\n")
    (folder / "old_package").mkdir()
    (folder / "old_package" / "__init__.py").touch()
    assert distributions.providers("old_package") == ["old 2.0"]
