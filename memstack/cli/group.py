"""The group of all commands, imported when they are used; and its one way to tell what went wrong."""

import inspect
import os
import sys
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from memstack.cli.console import ERR, OUT, exit_code, say
from memstack.cli.interrupts import no_more_interrupts
from memstack.contract.errors import (
    DuplicateCommandError,
    MemstackError,
    UnknownCommandError,
    cut,
    did_you_mean,
    in_one_line,
    printable,
)
from memstack.plugins.registry import registry
from memstack.plugins.specs import CommandSpec, import_target

DEBUG = "--debug"
INTERRUPTED = 130
LineError: Any = typer.BadParameter.__mro__[2]
"""The base of what typer raises for a command line, which hands on this alone."""
OWN = (
    CommandSpec(
        name="backends",
        target="memstack.cli.backends:backends_command",
        summary="List the memory backends that are registered, and how to install what they need.",
        examples=("memstack backends", "memstack backends --json -"),
    ),
    CommandSpec(
        name="check",
        target="memstack.cli.check:check_command",
        summary="Test every promise of a backend, then measure its recall and times on four sets of keys.",
        examples=("memstack check hnsw --quick", "memstack check hnsw -o m=32 --entries 16384 --json hnsw.json"),
    ),
    CommandSpec(
        name="corpora",
        target="memstack.cli.corpora:corpora_command",
        summary="List the corpora that are registered, and how to install what they need.",
        examples=("memstack corpora", "memstack corpora --json -"),
    ),
    CommandSpec(
        name="new-backend",
        target="memstack.cli.new_backend:new_backend_command",
        summary="Write a plugin with a backend of your own: ready to install, and to be given your index.",
        examples=("memstack new-backend my-index my-index/", "memstack new-backend my-index my-index/ --whole-memory"),
    ),
)


class Command(TyperCommand):
    """A command whose help, as all that is printed, ends nothing where it cannot be written."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with OUT.instead():
            super().format_help(ctx, formatter)


class Group(TyperGroup):
    """The commands of memstack and of plugins by their records: a listing imports none of them."""

    debug = invoked = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with OUT.instead():
            super().format_help(ctx, formatter)

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted({spec.name for spec in (*OWN, *registry().commands())})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What a listing shows of a command: its name and summary."""
        try:
            spec = _spec(cmd_name)
        except DuplicateCommandError as error:
            return TyperCommand(cmd_name, help=str(error))
        return None if spec is None else TyperCommand(spec.name, help=spec.summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself, imported, with what is left of the line for it."""
        name, *rest = args
        spec = _spec(name)
        if spec is None and ctx.resilient_parsing:
            return None, None, rest
        if spec is None:
            known = self.list_commands(ctx)
            raise UnknownCommandError(
                f"no command is called {name!r}{did_you_mean(name, known)} (commands: {', '.join(known)})"
            )
        return name, _as_command(spec), rest

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take ``--debug`` from wherever it stands: before the command, or behind it."""
        self.debug = DEBUG in args
        return super().parse_args(ctx, [each for each in args if each != DEBUG])

    def invoke(self, ctx: Any) -> None:
        """Run the command; what it returns is nobody's, and Ctrl-C ends it with a word."""
        self.invoked = True
        _ensure_folder()
        try:
            super().invoke(ctx)
        except KeyboardInterrupt:
            no_more_interrupts()
            if self.debug:
                raise
            say("interrupted", "red", ERR)
            raise typer.Exit(INTERRUPTED) from None

    def main(self, *args: Any, **named: Any) -> None:
        """Run a whole command line and leave Python with its exit code; a mistake is one line and exit code 2."""
        named["standalone_mode"] = False
        try:
            code = super().main(*args, **named) or 0
            if code == INTERRUPTED and not self.invoked:
                no_more_interrupts()
                say("interrupted", "red", ERR)
        except typer.Abort:
            say("aborted", "red", ERR)
            code = 1
        except (LineError, MemstackError, OSError) as error:
            if self.debug:
                raise
            _complain(_text_of(error))
            code = getattr(error, "exit_code", 2)
        except (MemoryError, RuntimeError) as error:
            if self.debug or not _lacks_memory(error):
                raise
            _complain(f"there is not enough memory ({in_one_line(error)}): lower what is large, or use another device")
            code = 2
        sys.exit(exit_code(code))


def _ensure_folder() -> None:
    """MemstackError where the current folder is no more: neither relative paths nor MKL's libraries are found then."""
    try:
        os.getcwd()
    except OSError as error:
        raise MemstackError(f"the current folder is gone ({error.strerror}): change to one that is there") from None


def _spec(name: str) -> CommandSpec | None:
    """The record of a command; memstack's own names are taken. Raises DuplicateCommandError."""
    own = next((spec for spec in OWN if spec.name == name), None)
    return own or registry().command(name)


def _as_command(spec: CommandSpec) -> Any:
    """The command as typer has it: help is the record's summary, what the docstring adds to it, and the examples."""
    function, single = _imported(spec), typer.Typer(add_completion=False)
    _, _, more = (inspect.getdoc(function) or "").partition("\n\n")
    epilog = "\n\n".join(("Examples:", *spec.examples)) if spec.examples else None
    single.command(spec.name, cls=Command, help=f"{spec.summary}\n\n{more}".strip(), epilog=epilog)(function)
    return typer.main.get_command(single)


def _imported(spec: CommandSpec) -> Callable[..., Any]:
    """A command, or one that says why it cannot be imported: a broken plugin takes no other command down."""
    try:
        return import_target(spec.target)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a stranger's module may fail in any way
        reason = MemstackError(f"command {spec.name!r} cannot be imported from {spec.target}: {in_one_line(error)}")

    def fail() -> None:
        raise reason

    return fail


def _lacks_memory(error: BaseException) -> bool:
    """True for what Python, torch on any device, and C++ libraries raise when there is no room."""
    words = ("out of memory", "not enough memory", "allocate memory", "size calculation overflowed", "bad_alloc")
    return isinstance(error, MemoryError) or any(each in str(error).lower() for each in words)


def _text_of(error: Exception) -> str:
    """What is wrong, as the error says it; of one that says nothing, its name."""
    if isinstance(error, LineError):
        return _usage_text(error)
    return str(error).strip() or type(error).__name__


def _complain(message: str) -> None:
    """Print what is wrong in one line, whatever it quotes: a file's name may hold anything, and be of any length."""
    if message:
        say(f"error: {cut(printable(message))}", "red", ERR)


def _usage_text(error: Any) -> str:
    """What is wrong with a command line, in one line; nothing if help was shown instead."""
    text = " ".join(error.format_message().split()).rstrip(".")
    if not text or getattr(error, "ctx", None) is None:
        return text
    if option := getattr(error, "option_name", ""):
        known = [name for param in error.ctx.command.get_params(error.ctx) for name in param.opts]
        # Only the nearest: the dashes make all of them alike.
        near = get_close_matches(option, [name for name in known if name.startswith("--")], n=1, cutoff=0.7)
        text = f"{error.message.rstrip('.')}{''.join(f'; did you mean {name!r}?' for name in near)}"
    return f"{text[0].lower()}{text[1:]} (see {error.ctx.command_path} --help)"
