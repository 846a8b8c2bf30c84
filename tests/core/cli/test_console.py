"""What all commands print with: tables that fit, progress that leaves no litter, JSON alone where it is asked for."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.command_line import Run
from rich.console import Console
from rich.table import Table

from memstack.cli import console
from memstack.cli.backends import backends_table
from memstack.plugins.registry import registry

WIDE = ["perplexity", "against exact", "recall", "attention mass", "search", "add", "worst add"]
ROWS = {
    "none": ["4.821"],
    "exact/8192": ["4.214", "+0.00 %", "exact", "exact", "1.00", "0.02", "0.03"],
    "faiss-ivf,nlist=64,nprobe=16/8192": ["4.301", "+2.06 %", "0.874", "0.951", "0.71", "0.31", "11.90"],
}


def compared() -> Table:
    """A table as wide as ``memstack compare`` has."""
    lines = console.table("backend/entries", right=WIDE)
    for name, cells in ROWS.items():
        lines.add_row(name, *cells)
    return lines


def offered() -> Table:
    return backends_table(registry().offers())


def printed(table: Table, width: int) -> str:
    sheet = Console(width=width, color_system=None)
    with sheet.capture() as captured:
        sheet.print(table)
    return captured.get()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("made", [compared, offered])
def test_a_table_fits_with_every_word_whole(made: Callable[[], Table], width: int) -> None:
    out = printed(made(), width)
    assert all(len(line) <= width for line in out.splitlines())
    cells = [cell for column in made().columns for cell in (column.header, *column.cells)]
    assert set(" ".join(map(str, cells)).split()) <= set(out.split())


def test_what_does_not_fit_side_by_side_goes_on_below() -> None:
    """With the first column again, so that rows can still be compared."""
    lines = [line.split() for line in printed(compared(), 60).splitlines()]
    names = [line[0] for line in lines if line and line[0] in ROWS]
    assert names == [*ROWS] * (len(names) // len(ROWS))
    assert len(names) > len(ROWS)
    ours = [cell for line in lines if line[:1] == ["exact/8192"] for cell in line[1:]]
    assert ours == " ".join(ROWS["exact/8192"]).split()


def test_columns_stand_side_by_side_where_they_fit() -> None:
    first, _, *rest = printed(offered(), 200).splitlines()
    assert first.split() == ["backend", "search", "trained", "devices", "library", "plugin"]
    assert len(rest) == len(registry().offers())


def test_a_log_holds_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(console.followed(["a", "b"], "testing")) == ["a", "b"]
    with console.telling(2) as tell:
        tell("first")
        tell("second")
        tell("third, which nobody expected")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == ["1/2 first", "2/2 second", "3/3 third, which nobody expected"]


def test_json_has_standard_output_alone(memstack: Run) -> None:
    code, out, err = memstack("backends", "--json", "-")
    assert code == 0
    names = [each["name"] for each in json.loads(out)["backends"]]
    assert names == [offer.spec.name for offer in registry().offers()]
    assert all(name in err for name in names)
    assert memstack("backends")[1].startswith("backend ")


def test_json_goes_into_a_folder_that_is_made(memstack: Run) -> None:
    _, out, _ = memstack("backends", "--json", "new/backends.json")
    assert out.startswith("backend ")
    assert {each["name"] for each in json.loads(Path("new/backends.json").read_text())["backends"]} >= {"exact"}


def on_a_terminal(width: int, *arguments: str, **environment: str) -> str:
    """What the command line prints on a terminal of this width."""
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (40, width))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    line = [sys.executable, "-m", "memstack", *arguments]
    named = kept | {"TERM": "xterm-256color"} | environment
    with subprocess.Popen(line, stdin=follower, stdout=follower, stderr=follower, env=named) as process:
        process.wait()
        os.close(follower)
    with os.fdopen(leader, "rb") as printed:
        return printed.read1(1 << 20).decode().replace("\r\n", "\n")


def test_a_terminals_lines_break_between_words_and_colour_can_be_refused() -> None:
    red = on_a_terminal(60, "nonsense")
    plain = on_a_terminal(60, "nonsense", NO_COLOR="1")
    assert red.startswith("\x1b[31merror: ")
    assert "\x1b" not in plain
    assert 1 < len(plain.splitlines()) < 5
    assert all(len(line) <= 60 for line in plain.splitlines())
    assert {"new-backend,", "train,", "tune)"} <= set(plain.split())
