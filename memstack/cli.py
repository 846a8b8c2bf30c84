"""The command line: ``memstack backends`` and ``memstack check``, plus the commands of plugins."""

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from memstack import config
from memstack.backend import CommandSpec, import_target
from memstack.errors import MemstackError
from memstack.registry import registry

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
        spec = registry().command(cmd_name)
        if spec is None:
            return None
        single = typer.Typer(add_completion=False)
        single.command(spec.name, help=spec.summary)(_imported(spec))
        return typer.main.get_command(single)


app = typer.Typer(cls=Group, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def options(_debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """Long-term kNN memory for transformers, with interchangeable search backends."""


@app.command()
def backends() -> None:
    """List the memory backends that are registered, and how to install what they need."""
    table = Table("backend", "search", "devices", "installed", "plugin")
    for offer in registry().offers():
        spec = offer.spec
        search = "exact" if spec.exact else "approximate" + (", trained" if spec.needs_training else "")
        origin = f"{offer.plugin}, {offer.distribution}" if offer.distribution else offer.plugin
        table.add_row(
            *map(Text, (spec.name, search, " ".join(spec.devices), "no" if spec.missing() else "yes", origin))
        )
    OUT.print(table)
    for spec in registry().specs():
        mend = f"; to install: {spec.pip_line}" if spec.missing() else ""
        OUT.print(f"{spec.name}: {spec.summary}{mend}", markup=False, soft_wrap=True)
    for plugin, reason in registry().broken.items():
        ERR.print(f"plugin {plugin} is broken: {reason}", style="red", markup=False)


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="The backend to check.")],
    option: Annotated[list[str], typer.Option("-o", "--option", help="A backend option, key=value.")] = [],  # noqa: B006
) -> None:
    """Run the conformance kit on a backend and print each promise with pass or fail."""
    from memstack.testing import check_memory  # the kit is not needed to list or train

    given = config.apply({}, option) or None
    if given is not None:
        registry().options(name, given)
    results = check_memory(name, given)
    table = Table("promise", "result", "seconds")
    for result in results:
        style = {"pass": "green", "fail": "red"}.get(result.outcome, "yellow")
        table.add_row(result.promise, f"[{style}]{result.outcome}[/]", f"{result.seconds:.2f}")
    OUT.print(table)
    for result in results:
        if result.detail:
            OUT.print(f"{result.outcome}: {result.promise} {result.detail}", markup=False)
    kept = sum(result.passed for result in results)
    OUT.print(f"{name}: {kept} of {len(results)} promises kept, {len(results.failed)} broken")
    if results.failed:
        raise typer.Exit(1)


def _imported(spec: CommandSpec) -> Callable[..., Any]:
    """A plugin's command, or one that says why it cannot be imported: a broken plugin takes no other command down."""
    try:
        return import_target(spec.target)
    except Exception as error:  # noqa: BLE001 - a stranger's module may fail in any way; the command reports it
        reason = f"command {spec.name!r} cannot be imported from {spec.target}: {type(error).__name__}: {error}"

        def broken() -> None:
            raise MemstackError(reason)

        return broken


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
