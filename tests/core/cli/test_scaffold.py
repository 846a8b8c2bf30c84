"""``memstack new-backend``: what it writes, what it refuses, and that it writes everything or nothing."""

import ast
import errno
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from memstack import IndexedMemory
from memstack.cli import main as cli
from memstack.cli import scaffold
from memstack.cli.scaffold import new_backend
from memstack.contract.errors import ScaffoldError

ROOT = Path(__file__).parents[3]
LONG = "a" * scaffold.LONGEST
FILES = [
    "README.md",
    "memstack_my_index/__init__.py",
    "memstack_my_index/search.py",
    "pyproject.toml",
    "tests/test_contract.py",
]


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("whole_memory", [False, True])
@pytest.mark.parametrize("exists", [False, True])
def test_a_plugin_is_written_into_a_new_or_empty_folder(tmp_path: Path, exists: bool, whole_memory: bool) -> None:
    folder = tmp_path / "mine"
    if exists:
        folder.mkdir()
    assert new_backend("my-index", folder, whole_memory=whole_memory) == folder
    assert files(folder) == FILES
    assert list(tmp_path.iterdir()) == [folder]


def test_the_folder_one_stands_in_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    new_backend("my-index", ".")
    assert files(Path.cwd()) == FILES


def test_the_record_imports_no_search_code(tmp_path: Path) -> None:
    record = new_backend("my-index", tmp_path / "mine") / "memstack_my_index" / "__init__.py"
    nodes = list(ast.walk(ast.parse(record.read_text(encoding="utf-8"))))
    assert [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names] == ["memstack"]
    assert [node.module for node in nodes if isinstance(node, ast.ImportFrom)] == ["collections.abc"]


def test_its_own_test_is_three_lines(tmp_path: Path) -> None:
    test = new_backend("my-index", tmp_path / "mine") / "tests" / "test_contract.py"
    lines = [line for line in test.read_text(encoding="utf-8").splitlines() if line]
    assert lines == [
        "from memstack.testing import MemoryContract",
        "class TestMyIndex(MemoryContract):",
        '    backend = "my-index"',
    ]


def names(path: Path) -> set[str]:
    """The classes that a file defines."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.ClassDef)}


def test_a_class_for_each_index_or_one_for_all_is_named_as_bundled_ones_are(tmp_path: Path) -> None:
    each, whole = (new_backend("my-index", tmp_path / str(kind), whole_memory=kind) for kind in (False, True))
    assert names(each / "memstack_my_index" / "search.py") == {"MyIndexIndex", "MyIndexMemory", "Options"}
    assert names(whole / "memstack_my_index" / "search.py") == {"MyIndexMemory", "Options"}


def test_its_readme_says_nothing_that_the_index_will_make_untrue(tmp_path: Path) -> None:
    each, whole = (new_backend("my-index", tmp_path / str(kind), whole_memory=kind) for kind in (False, True))
    text = (each / "README.md").read_text(encoding="utf-8")
    assert text == (whole / "README.md").read_text(encoding="utf-8")
    (given,) = re.findall(r"--set memory\.options\.(\S+)", text)
    name, value = given.split("=")
    assert IndexedMemory.Options.model_validate({name: value})


@pytest.mark.parametrize("name", ["b", "my-index", LONG])
@pytest.mark.parametrize(
    "settings", [["--isolated"], ["--config", str(ROOT / "pyproject.toml")]], ids=["usual", "ours"]
)
@pytest.mark.parametrize("whole_memory", [False, True])
def test_what_is_written_satisfies_ruff(tmp_path: Path, name: str, settings: list[str], whole_memory: bool) -> None:
    folder = new_backend(name, tmp_path / "mine", whole_memory=whole_memory)
    for verb in (["check"], ["format", "--check"]):
        line = [sys.executable, "-m", "ruff", *verb, "--no-cache", *settings, "."]
        done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "a backend's name should be"),
        ("My-index", "a backend's name should be"),
        ("1st", "a backend's name should be"),
        ("my_index", "a backend's name should be"),
        ("my-", "a backend's name should be"),
        ("../mine", "a backend's name should be"),
        (f"{LONG}a", "up to 30 lower-case letters and digits"),
        ("exact", "backend 'exact' exists: plugin 'exact' of memstack"),
        ("models", "package memstack_models is installed already"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ScaffoldError, match=message) as caught:
        new_backend(name, tmp_path / "mine")
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("full", "folder .*full is not empty"),
        ("file", "is no folder"),
        ("no/mine", "there is no folder .*no to make mine"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path, folder: str, message: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("kept")
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ScaffoldError, match=message):
        new_backend("my-index", tmp_path / folder)
    assert files(tmp_path) == ["file", "full/notes.txt"]


@pytest.mark.parametrize("exists", [False, True])
def test_nothing_is_left_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool) -> None:
    """As on a full disk: the last file cannot be written."""
    template = shutil.copytree(scaffold.TEMPLATE, tmp_path / "template")
    (template / "tests" / "test_contract.py-tmpl").write_text("$unknown")
    monkeypatch.setattr(scaffold, "TEMPLATE", template)
    folder = tmp_path / "home" / "mine"
    (folder if exists else folder.parent).mkdir(parents=True)
    with pytest.raises(KeyError):
        new_backend("my-index", folder)
    assert list((tmp_path / "home").rglob("*")) == [folder] * exists


@pytest.mark.parametrize("exists", [False, True])
def test_a_disk_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool) -> None:
    """Not the file that was tried first, of which nobody has heard."""

    def refuse(*args: object, **named: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", ".memstack-ab12")

    monkeypatch.setattr("os.mkdir", refuse)
    folder = tmp_path if exists else tmp_path / "mine"
    with pytest.raises(ScaffoldError, match=rf"^folder {re.escape(str(folder))} cannot be written \(Read-only"):
        new_backend("my-index", folder)


def test_the_command_says_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["memstack", "new-backend", "my-index", "my folder"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "    pip install -e 'my folder[test]'",
        "    memstack check my-index",
        "    python -m pytest 'my folder'",
        "    memstack train tiny --set memory.backend=my-index",
    ]


def test_the_command_refuses_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["memstack", "new-backend", "exact", "mine"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: backend 'exact' exists")
