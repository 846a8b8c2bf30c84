"""The command line: ``memstack backends``, ``corpora``, ``check`` and ``new-backend``, plus the commands of plugins."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from memstack.cli import console
from memstack.contract.errors import ConfigError, DuplicateCommandError, MemstackError, in_one_line
from memstack.contract.shape import MemoryShape
from memstack.plugins import config
from memstack.plugins.registry import registry
from memstack.plugins.specs import CommandSpec, import_target

OUT = Console(highlight=False)
ERR = Console(stderr=True, highlight=False)


class Group(TyperGroup):
    """The bundled commands and, imported only when they are used or their help is shown, those of plugins."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted({*super().list_commands(ctx), *(spec.name for spec in registry().commands())})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        try:
            spec = registry().command(cmd_name)
        except DuplicateCommandError as error:
            return _as_command(cmd_name, str(error), _failing(error))
        return None if spec is None else _as_command(spec.name, spec.summary, _imported(spec))


app = typer.Typer(cls=Group, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def options(_debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """Long-term kNN memory for transformers, with interchangeable search backends."""


@app.command()
def backends() -> None:
    """List the memory backends that are registered, and how to install what they need."""
    offers = registry().offers()
    lines = console.table("backend", "search", "trained", "devices", "library", "plugin")
    for offer in offers:
        spec = offer.spec
        search, trained = "exact" if spec.exact else "approximate", "yes" if spec.needs_training else "no"
        library = Text(", ".join(spec.installed()) or "none needed")
        if missing := spec.missing():
            library = Text(f"{', '.join(missing)} is missing", style="yellow")
        origin = f"{offer.plugin}, {offer.distribution}" if offer.distribution else offer.plugin
        lines.add_row(Text(spec.name), search, trained, Text(" ".join(spec.devices)), library, Text(origin))
    OUT.print(lines)
    for spec in (offer.spec for offer in offers):
        mend = f"; to install: {spec.pip_line}" if spec.missing() else ""
        OUT.print(f"{spec.name}: {spec.summary}{mend}", markup=False, soft_wrap=True)
    for problem in registry().problems():
        ERR.print(problem, style="red", markup=False, soft_wrap=True)


@app.command()
def corpora() -> None:
    """List the corpora that are registered, and how to install what they need."""
    from memstack.cli.corpora import print_corpora

    print_corpora(OUT, ERR)


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="The backend to check.")],
    option: Annotated[list[str], typer.Option("-o", "--option", help="A backend option, key=value.")] = [],  # noqa: B006
    quick: Annotated[bool, typer.Option("--quick", help="Only the promises: measure nothing.")] = False,
    entries: Annotated[int, typer.Option(min=1, help="Entries per memory when measuring.")] = 4096,
    dim: Annotated[int, typer.Option(min=1, help="Dimensions of keys and values when measuring.")] = 64,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file as well.")] = None,
) -> None:
    """Test every promise of a backend, then measure its recall and times on four sets of keys.

    Promises are tested with the backend's test options and -o, measurements made with its default options and -o.
    The exit code is 1 if a promise is broken; no measurement fails the check.
    """
    from memstack.cli import check as checking  # the kit is not needed to list or train

    if json_ is not None and json_.is_dir():
        raise ConfigError(f"--json {json_} is a folder; name a file")
    given = config.apply({}, option)
    resolved = registry().options(name, given).model_dump(mode="json")
    spec = registry().spec(name)
    tested = config.apply(spec.test_options, option)
    report = checking.check_promises(name, tested, ERR)
    checking.print_report(OUT, name, tested, report)
    numbers: dict[str, Any] = {"backend": name, "libraries": spec.installed()}
    numbers["promises"] = {"options": tested, **asdict(report)}
    if not quick:
        shape = MemoryShape(rows=2, heads=2, key_dim=dim, value_dim=dim, capacity=entries)
        measured, failures = checking.measure_key_sets(name, given, shape, ERR)
        checking.print_measurements(OUT, name, given, shape, measured, failures)
        results = {"results": [asdict(one) for one in measured], "failures": failures}
        numbers["measurements"] = {"options": resolved, "shape": asdict(shape), **results}
    if json_ is not None:
        json_.parent.mkdir(parents=True, exist_ok=True)
        json_.write_text(json.dumps(numbers, indent=2, default=str) + "\n", encoding="utf-8")
    if report.failed:
        raise typer.Exit(1)


@app.command("new-backend")
def new_backend(
    name: Annotated[str, typer.Argument(help="What the backend will be called, such as my-index.")],
    folder: Annotated[Path, typer.Argument(help="A new or empty folder for the plugin.")],
) -> None:
    """Write a plugin with a backend of your own: ready to install, and exact search until you put your index in."""
    from memstack.cli import scaffold

    scaffold.new_backend(name, folder)
    OUT.print(f"wrote a plugin with the backend {name} into {folder}; next:", markup=False, soft_wrap=True)
    for line in scaffold.next_commands(name, folder):
        OUT.print(f"    {line}", markup=False, soft_wrap=True)


def _imported(spec: CommandSpec) -> Callable[..., Any]:
    """A plugin's command, or one that says why it cannot be imported: a broken plugin takes no other command down."""
    try:
        return import_target(spec.target)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's module may fail in any way
        reason = f"command {spec.name!r} cannot be imported from {spec.target}: {in_one_line(error)}"
        return _failing(MemstackError(reason))


def _failing(error: MemstackError) -> Callable[[], None]:
    """A command that says what is wrong with it when it is run: help still lists the others."""

    def fail() -> None:
        raise error

    return fail


def _as_command(name: str, summary: str, function: Callable[..., Any]) -> Any:
    single = typer.Typer(add_completion=False)
    single.command(name, help=summary)(function)
    return typer.main.get_command(single)


def main() -> None:
    """Run the command line; an error of memstack's own is one line and exit code 2, ``--debug`` shows its traceback."""
    # Taken out here so that it may stand before or after the verb.
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app()
    except (MemstackError, OSError) as error:
        if debug:
            raise
        ERR.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
