"""The command line as a whole: help, versions, mistakes, and how it ends."""

from collections.abc import Sequence

import pytest
from helpers.command_line import Run

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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nothing"], "there is no recipe or file nothing; bundled recipes: paper-200m, stdlib-small, tiny"),
        (["eval", "nothing"], "there is no run in nothing"),
        (["export", "nothing", "x"], "there is no run in nothing"),
        (["check", "exact", "-o", "blok=1"], "blok is not a known key; did you mean 'block'"),
        (["check", "hnws"], "did you mean 'hnsw'"),
        (["check", "exact", "--json", "."], "invalid value for '--json': file '.' is a directory"),
    ],
)
def test_other_mistakes_are_one_line(memstack: Run, arguments: list[str], message: str) -> None:
    code, _, err = memstack(*arguments)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert message in err


@pytest.mark.parametrize("place", [1, 3])
def test_debug_shows_the_traceback(memstack: Run, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    line = ["memstack", "eval", "nothing"]
    line.insert(place, "--debug")
    monkeypatch.setattr("sys.argv", line)
    with pytest.raises(Exception, match="there is no run in nothing"):
        cli.main()
