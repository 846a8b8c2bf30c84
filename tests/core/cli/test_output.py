"""Where the command line prints: a full disk, a closed pipe, an ASCII terminal, none at all; and Ctrl-C."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from memstack.cli import console, logged_progress
from memstack.cli.logged_progress import LoggedProgress

ODD = b"caf\xe9-\xe2\x82\xac"
SAYING = """
import sys
from memstack.cli import main, group
from memstack.cli.console import ERR, OUT, progress_bar, say, table

def command():
    for _ in range(3):
        say("a line")
        lines = table("a", "b")
        lines.add_row("1", "2")
        OUT.print(lines)
    with progress_bar() as bar:
        bar.advance(bar.add_task("working", total=1))
    print("went on", file=sys.stderr, flush=True)

group.import_target = lambda target: command
sys.argv = ["memstack", "backends"]
main.main()
"""


def line(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "memstack", *arguments]


def done(
    command: Sequence[str | bytes], folder: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    named = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    return subprocess.run(command, cwd=folder, env=named | environment, capture_output=True, check=False)


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "ascii:surrogateescape"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "arguments",
    [
        ["backends"],
        ["train", "--help"],
        ["train", ODD],
        pytest.param(["new-backend", ODD], marks=pytest.mark.long),
    ],
    ids=str,
)
def test_a_terminal_that_is_ascii_and_paths_that_are_not_utf_8_end_nothing(
    tmp_path: Path, environment: dict[str, str], arguments: list[str | bytes]
) -> None:
    result = done([*line(), *arguments], tmp_path, **environment)
    assert b"Traceback" not in result.stderr
    assert result.returncode == (2 if ODD in arguments else 0)
    if ODD in arguments:
        assert result.stderr.startswith(b"error: ")
        assert len(result.stderr.splitlines()) == 1


def test_a_record_of_what_is_not_utf_8_is_written(tmp_path: Path) -> None:
    path = os.fsdecode(ODD) + ".json"
    result = done(line("backends", "--json", path), tmp_path)
    assert (result.returncode, result.stderr) == (0, b"")
    assert json.loads((tmp_path / path).read_bytes())["kind"] == "backends"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize(
    "arguments", [["backends"], ["backends", "--json", "-"], ["--help"], ["check", "--help"], ["--version"]], ids=str
)
def test_a_full_standard_output_is_one_line_and_exit_code_1(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(line(*arguments), stdout=full, stderr=subprocess.PIPE, check=False)
    assert result.stderr.splitlines()[-1] == b"error: standard output cannot be written: No space left on device"
    assert result.stderr.count(b"error: ") == 1
    assert result.returncode == 1


def test_a_current_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    """MKL ends a process there that multiplies."""
    gone = tmp_path / "gone"
    gone.mkdir()
    command = ["sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', str(gone), *line("backends")]
    result = subprocess.run(command, capture_output=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith(b"error: the current folder is gone")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"]], ids=str)
def test_help_that_nobody_reads_has_lost_nothing(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as unread:
        result = subprocess.run(line(*arguments), stdout=unread, stderr=subprocess.PIPE, check=False)
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("output", ["full", "closed", "gone"])
def test_a_command_goes_on_when_its_output_is_lost_and_its_exit_code_tells(output: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    opened = writing if output == "gone" else os.open("/dev/full", os.O_WRONLY)
    code = SAYING.replace("sys.argv =", "sys.stdout.close(); sys.argv =") if output == "closed" else SAYING
    result = subprocess.run([sys.executable, "-c", code], stdout=opened, stderr=subprocess.PIPE, text=True, check=False)
    for descriptor in {opened, writing}:
        os.close(descriptor)
    assert result.stderr.splitlines()[0] == "went on"
    assert "Traceback" not in result.stderr
    assert result.returncode == (0 if output == "gone" else 1)
    assert len(result.stderr.splitlines()) == (1 if output == "gone" else 2)


@pytest.mark.parametrize("closing", [">&-", "2>&-", ">&- 2>&-", "<&-", "> /dev/full 2>&1", "2> /dev/full"])
def test_without_a_standard_stream_nothing_breaks(closing: str, tmp_path: Path) -> None:
    result = done(["sh", "-c", f"{sys.executable} -m memstack backends {closing}"], tmp_path)
    assert b"Traceback" not in result.stdout + result.stderr
    assert result.returncode == (1 if closing.startswith("> ") else 0)


INTERRUPTING = """
import os, signal, sys
import memstack.__main__ as program

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            os.kill(os.getpid(), signal.SIGINT)

wanted = sys.argv.pop(1)
sys.meta_path.insert(0, Finder())
program.main()
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("memstack.cli.main", ["backends"]),
        ("rich.console", ["backends"]),
        ("memstack_models.cli.train", ["train", "tiny"]),
        ("memstack_models.cli.train", ["train", "--help"]),
        ("torch", ["check", "exact"]),
        ("memstack.testing", ["check", "exact"]),
        ("memstack_exact.search", ["train", "tiny", "--out", "run"]),
    ],
)
def test_ctrl_c_is_one_word_and_130_from_the_first_import_on(tmp_path: Path, module: str, arguments: list[str]) -> None:
    result = done([sys.executable, "-c", INTERRUPTING, module, *arguments], tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (130, b"", b"interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_a_log_gets_a_line_every_so_often(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    monkeypatch.setattr(logged_progress, "monotonic", lambda: clock[0])
    with console.progress_bar() as bar:
        task = bar.add_task("reading", total=4000)
        for second in (1, 31, 32, 62):
            clock[0] = second
            bar.advance(task, 1000)
    said = capsys.readouterr()
    assert said.out == ""
    assert [each.split(" after ")[0] for each in said.err.splitlines()] == ["2,000 of 4,000", "4,000 of 4,000"]
    assert all(each.endswith(" s: reading") for each in said.err.splitlines())


@pytest.mark.parametrize(("lines", "terminal"), [(False, False), (True, True)])
def test_a_bar_prints_no_lines_on_a_terminal_nor_where_others_do(
    monkeypatch: pytest.MonkeyPatch, lines: bool, terminal: bool
) -> None:
    monkeypatch.setattr(logged_progress, "EVERY_S", 0.0)
    sheet = Console(width=80, force_terminal=terminal)
    with sheet.capture() as captured, LoggedProgress(sheet, lines=lines, redirect_stdout=False) as bar:
        bar.update(bar.add_task("reading", total=None), advance=1)
    assert " s: reading" not in captured.get()
