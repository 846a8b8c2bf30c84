"""The command line as a whole: help, versions, mistakes, and how it ends."""

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest
from helpers.command_line import Run, ensure_refused, version_of

from memstack import CommandSpec, hookimpl
from memstack.cli import group
from memstack.cli import main as cli
from memstack.plugins.registry import Registry


class Verbs:
    """A plugin with a command that another one has as well."""

    @hookimpl
    def memstack_commands(self) -> Sequence[CommandSpec]:
        return [CommandSpec(name="twice", target="nowhere:run", summary="a test")]


def test_help_names_every_command(memstack: Run) -> None:
    code, out, _ = memstack("--help")
    assert code == 0
    assert all(name in out for name in ("backends", "check", "train", "eval", "export", "demo"))


def test_a_command_of_two_plugins_harms_no_other(memstack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = Registry().discover()
    for name in ("first", "second"):
        plugins.register(Verbs(), name)
    monkeypatch.setattr(group, "registry", lambda: plugins)
    code, out, _ = memstack("--help")
    assert code == 0
    assert all(name in out for name in ("backends", "train", "twice"))
    code, _, err = memstack("twice")
    assert (code, "command 'twice' is offered by both plugin 'first' and plugin 'second'" in err) == (2, True)


def test_the_version_names_the_libraries_that_search(memstack: Run) -> None:
    code, out, _ = memstack("--version")
    assert (code, len(out.splitlines())) == (0, 1)
    assert out.startswith(f"{version_of('memstack')} (Python 3.")
    assert all(version_of(name) in out for name in ("torch", "hnswlib", "faiss-cpu"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nothing"], "there is no recipe or file nothing; bundled recipes: paper-200m, stdlib-small, tiny"),
        (["eval", "nothing"], "there is no run in nothing"),
        (["export", "nothing", "x"], "there is no run in nothing"),
        (["check", "exact", "-o", "blok=1"], "blok is not a known key; did you mean 'block'"),
        (["check", "hnws"], "did you mean 'hnsw'"),
        (["check", "exact", "--json", "."], "invalid value for '--json': file '.' is a directory"),
        (["backend"], "no command is called 'backend'; did you mean 'backends'"),
        (["trian", "tiny"], "no command is called 'trian'; did you mean 'train'?"),
        (["check", "exact", "--quik"], "no such option: --quik; did you mean '--quick'? (see memstack check --help)"),
        (["--verson"], "no such option: --verson; did you mean '--version'? (see memstack --help)"),
        (["check"], "missing argument 'name' (see memstack check --help)"),
        (["check", "exact", "--dim", "many"], "invalid value for '--dim'"),
    ],
)
def test_other_mistakes_are_one_line(memstack: Run, arguments: list[str], message: str) -> None:
    ensure_refused(memstack(*arguments), message)


@pytest.mark.parametrize("command", [["train"], ["eval"], ["check"], ["new-backend", "mine"], []], ids=" ".join)
def test_a_line_is_clear_however_much_it_would_quote(memstack: Run, command: list[str]) -> None:
    code, _, err = memstack(*command, "/d" * 5000)
    assert (code, err.count("\n"), err.startswith("error: "), len(err) < 1100) == (2, 1, True, True)


@pytest.mark.parametrize("place", [1, 3])
def test_debug_shows_the_traceback(memstack: Run, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    line = ["memstack", "eval", "nothing"]
    line.insert(place, "--debug")
    monkeypatch.setattr("sys.argv", line)
    with pytest.raises(Exception, match="there is no run in nothing"):
        cli.main()


def test_ctrl_c_is_a_word_and_130(memstack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(group, "import_target", lambda *_: interrupted)
    assert memstack("backends") == (130, "", "interrupted\n")


def test_what_a_command_returns_is_no_exit_code(memstack: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "import_target", lambda *_: lambda: 5)
    assert memstack("backends") == (0, "", "")


def test_a_reader_that_has_gone_ends_nothing() -> None:
    """As in ``memstack backends | head -1``: no traceback, and the exit code that it would have had."""
    reading, writing = os.pipe()
    os.close(reading)
    line = [sys.executable, "-m", "memstack", "backends"]
    done = subprocess.run(line, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_listings_help_and_mistakes_do_without_torch() -> None:
    """They are what people wait for, and torch takes four fifths of the time."""
    lines = [["--help"], ["--version"], ["backends"], ["train", "--help"], ["check", "--help"], ["bakends"]]
    code = """
import contextlib, io, sys
from memstack.cli.main import main
for arguments in %r:
    sys.argv = ["memstack", *arguments]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main()
print(sorted({"torch", "numpy"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code % lines], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
