"""The command line, as a user meets it: fixtures and what reads its output."""

import math
import signal
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from helpers.small_corpus import write_corpus

from memstack.cli import console, logged_progress
from memstack.cli import main as cli

Run = Callable[..., tuple[int, str, str]]
QUICK = ["train.steps=4", "train.segment=32", "train.rows=2", "data.tokenizer=bytes", "train.log_every=1"]


@pytest.fixture
def memstack(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command line in an empty folder; its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(console.OUT, "width", 120)
    monkeypatch.setattr(logged_progress, "EVERY_S", math.inf)  # however slow a busy machine is

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["memstack", *map(str, arguments)])
        handler = signal.getsignal(signal.SIGINT)
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        signal.signal(signal.SIGINT, handler)  # one that Ctrl-C ends takes no further one
        printed = capsys.readouterr()
        return int(stopped.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus", documents=3, words=300)


def settings(*pairs: str) -> list[str]:
    return [part for pair in pairs for part in ("--set", pair)]


def ensure_refused(done: tuple[int, str, str], message: str) -> None:
    """The command ended with the code of a user's mistake and one line that says which."""
    code, _, err = done
    assert code == 2
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1
    assert message in err


def listed(printed: str, name: str) -> str:
    """The line of a table that begins with this name, with one space between words."""
    return next(" ".join(line.split()) for line in printed.splitlines() if line.startswith(f"{name} "))


def version_of(distribution: str) -> str:
    return f"{distribution} {metadata.version(distribution)}"
