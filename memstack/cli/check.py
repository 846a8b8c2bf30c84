"""``memstack check``: is this backend a memory, and what does it find and cost."""

from typing import Annotated

import typer

from memstack.cli.complete import backend_names
from memstack.cli.console import JsonFile, write_record
from memstack.contract.shape import MemoryShape
from memstack.plugins import config
from memstack.plugins.registry import registry


def check_command(
    name: Annotated[str, typer.Argument(help="The backend to check.", autocompletion=backend_names)],
    option: Annotated[
        list[str], typer.Option("-o", "--option", metavar="NAME=VALUE", help="A backend option; repeatable.")
    ] = [],  # noqa: B006
    quick: Annotated[bool, typer.Option("--quick", help="Only the promises: measure nothing.")] = False,
    entries: Annotated[int, typer.Option(min=1, help="Entries per memory when measuring.")] = 4096,
    dim: Annotated[int, typer.Option(min=1, help="Dimensions of keys and values when measuring.")] = 64,
    thorough: Annotated[bool, typer.Option("--thorough", help="Instead, try it at random and in every way.")] = False,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="With --thorough: for so long in all; default 60.")
    ] = None,
    operations: Annotated[
        int | None, typer.Option(min=1, help="With --thorough: so many random operations, the rest in proportion.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="With --thorough: repeats what this seed drew.")] = None,
    alone: Annotated[bool, typer.Option("--alone", help="Measure no other backend beside it.")] = False,
    json_: JsonFile = None,
) -> None:
    """Test every promise of a backend, then measure its recall and times on four sets of keys.

    Promises are tested with the backend's test options and -o, measurements made with its default options and -o.
    Beside them stand those of exact search and of a graph, on the same keys, for comparison.
    The exit code is 1 if a promise is broken; no measurement fails the check.

    With --thorough it is tried instead, in processes of their own: random operations beside plain lists, interrupts,
    threads, forks and kills. The exit code is 1 if anything differs, and Python that shows it again is printed.
    """
    from memstack.cli import check_report  # the kit and torch are not needed for help
    from memstack.cli.records import CheckRecord, Measurements, Promises

    given = registry().sealed(name, config.apply({}, option))
    if not thorough and (odd := [each for each in (seconds, operations, seed) if each is not None]):
        raise typer.BadParameter(f"--seconds, --operations and --seed are for --thorough, got {odd[0]}: add it")
    if thorough:
        from memstack.cli.check_thorough import check

        if not check(name, given, seconds, operations, seed, json_):
            raise typer.Exit(1)
        return
    spec = registry().spec(name)
    tested = registry().sealed(name, config.apply(spec.test_options, option))
    given = tested if spec.needs_options else given
    resolved = registry().options(name, given).model_dump()
    report = check_report.check_promises(name, tested)
    check_report.print_report(name, tested, report)
    measurements = None
    if not quick:
        shape = MemoryShape(rows=2, heads=2, key_dim=dim, value_dim=dim, capacity=entries)
        measured, failures = check_report.measure_key_sets(name, given, shape)
        beside = {} if alone else check_report.measure_yardsticks(name, shape)
        check_report.print_measurements(name, given, shape, measured, failures, beside)
        measurements = Measurements(
            options=resolved, shape=shape, results=tuple(measured), failures=failures, beside=beside
        )
    promises = Promises(options=tested, results=report.results)
    libraries = spec.installed()
    write_record(json_, CheckRecord(backend=name, libraries=libraries, promises=promises, measurements=measurements))
    if report.failed:
        raise typer.Exit(1)
