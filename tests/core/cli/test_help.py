"""What a command says about itself: its examples, and what a shell completes."""

import shlex
from collections.abc import Sequence
from typing import Any

import pytest
import typer

from memstack import CommandSpec
from memstack.cli.group import OWN
from memstack.cli.main import app
from memstack.plugins.registry import registry

COMMANDS = [*OWN, *registry().commands()]
EXAMPLES = [example for spec in COMMANDS for example in spec.examples]


def parsed(words: Sequence[str]) -> Any:
    """The context of a command line that has been read, but not run."""
    group = typer.main.get_command(app)
    with group.make_context("memstack", [words[0]]) as context:
        name, command, rest = group.resolve_command(context, list(words))  # pyright: ignore[reportAttributeAccessIssue]
        with command.make_context(name, rest, parent=context) as read:
            return read


@pytest.mark.parametrize("spec", COMMANDS, ids=lambda spec: spec.name)
def test_every_command_has_examples_of_itself(spec: CommandSpec) -> None:
    assert spec.examples
    assert all(shlex.split(example)[:2] == ["memstack", spec.name] for example in spec.examples)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_a_command_line_that_is_understood(example: str) -> None:
    command, _, _ = example.partition(" > ")  # where a shell leads its output to a file
    words = shlex.split(command)[1:]
    assert parsed(words).info_name == words[0]


@pytest.mark.parametrize("spec", COMMANDS, ids=lambda spec: spec.name)
def test_help_says_what_the_record_and_the_docstring_say(spec: CommandSpec) -> None:
    group = typer.main.get_command(app)
    with group.make_context("memstack", [spec.name]) as context:
        _, command, _ = group.resolve_command(context, [spec.name])  # pyright: ignore[reportAttributeAccessIssue]
    assert command.help.startswith(spec.summary)
    assert all(example in command.epilog for example in spec.examples)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("t", ["train", "tune"]),
        ("check hn", ["hnsw"]),
        ("train ti", ["tiny"]),
        ("eval std", ["stdlib-small"]),
        ("compare x -b fai", ["faiss-ivf"]),
        ("train tiny --set memory.ba", ["memory.backend="]),
        ("check exact --js", ["--json"]),
    ],
)
def test_a_shell_completes(
    line: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"memstack {line}"
    monkeypatch.setattr("sys.argv", ["memstack"])
    monkeypatch.setenv("_MEMSTACK_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit):
        app()
    assert capsys.readouterr().out.split() == expected
