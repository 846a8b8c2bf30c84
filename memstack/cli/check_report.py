"""What ``memstack check`` does and shows: every promise of a backend, then its measurements on every key set."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from memstack.cli.console import OUT, followed, say, table
from memstack.contract.errors import in_one_line
from memstack.contract.shape import MemoryShape
from memstack.measure import KEY_SETS, Measurement, measure_memory
from memstack.measure.measurement import CHUNK
from memstack.measure.timing import Timing
from memstack.plugins.registry import registry
from memstack.testing import Report, runner

STYLES = {"pass": "green", "fail": "red"}


def check_promises(backend: str, options: Mapping[str, Any]) -> Report:
    """Test every promise of the contract on a backend with these options, under a progress bar."""
    results = [
        result
        for promise in followed(runner.promises(), "testing")
        for result in runner.check_memory(backend, options, only=[promise])
    ]
    return Report(tuple(results))


def measure_key_sets(
    backend: str, options: Mapping[str, Any], shape: MemoryShape
) -> tuple[list[Measurement], dict[str, str]]:
    """Measure a new memory on every key set; return what was measured and, by key set, why others could not be."""
    measured: list[Measurement] = []
    failures: dict[str, str] = {}
    for key_set in followed(KEY_SETS, f"measuring {backend} on"):
        try:
            measured.append(measure_memory(registry().create(backend, shape, **options), key_set))
        except Exception as error:  # noqa: BLE001 - a stranger's memory may fail in any way, and the others still count
            failures[key_set] = in_one_line(error)
    return measured, failures


def measure_yardsticks(backend: str, shape: MemoryShape) -> dict[str, tuple[Measurement, ...]]:
    """Measure the backends that others are compared with on the same keys, but for this one and those not installed."""
    others = [
        spec.name for spec in registry().specs() if spec.yardstick and spec.name != backend and not spec.missing()
    ]
    return {name: tuple(measure_key_sets(name, {}, shape)[0]) for name in others}


def print_report(backend: str, options: Mapping[str, Any], report: Report) -> None:
    """Print every promise, why some were broken or not tested, and how many were kept."""
    OUT.print(_promises_table(report))
    for result in report:
        if result.detail:
            say(f"{result.outcome}: {result.promise} {result.detail}")
    kept = sum(result.passed for result in report)
    broken = len(report.failed)
    used = f"tested with {_as_line(options) or 'its default options'}"
    say(f"{backend}: {kept} of {len(report)} promises kept, {broken} broken; {used}")


def print_measurements(
    backend: str,
    options: Mapping[str, Any],
    shape: MemoryShape,
    measured: Sequence[Measurement],
    failures: Mapping[str, str],
    beside: Mapping[str, Sequence[Measurement]],
) -> None:
    """Print recall and times per key set, of others below, what was measured, and why some key sets could not be."""
    OUT.print()
    for key_set, reason in failures.items():
        say(f"not measured: {key_set}: {reason}", "yellow")
    if not measured:
        return
    OUT.print(_measurements_table(measured, beside))
    used = f"its default options{' and ' * bool(options)}{_as_line(options)}"
    size = f"{shape.rows} rows x {shape.heads} heads of {shape.capacity} entries, {shape.key_dim} dimensions"
    say(f"{backend}: measured with {used}; {size}; adds of {CHUNK}; a time is one call for all rows and heads")
    if beside:
        say(f"below it on the same keys: {' and '.join(beside)}, with default options")


def _promises_table(report: Report) -> Table:
    """One line per promise: whether it was kept, and the seconds the test took."""
    lines = table("promise", "result", right=["seconds"])
    for result in report:
        style = STYLES.get(result.outcome, "yellow")
        lines.add_row(result.promise, f"[{style}]{result.outcome}[/]", f"{result.seconds:.2f}")
    return lines


def _measurements_table(measured: Sequence[Measurement], beside: Mapping[str, Sequence[Measurement]]) -> Table:
    """A line per key set, and below it one of each other backend; all ask for the same neighbours with like queries."""
    first = measured[0]
    shares = f"recall@{first.neighbours}", "attention mass"
    searches = [f"{q} queries ms" for q in first.search]
    lines = table("keys", right=[*shares, *searches, "add ms", "worst add ms", "reset ms"])
    for one in measured:
        lines.add_row(one.key_set, *_cells(one))
        for name, others in beside.items():
            for other in (each for each in others if each.key_set == one.key_set):
                lines.add_row(f"  {name}", *_cells(other), style="dim")
    return lines


def _cells(one: Measurement) -> list[str]:
    """The shares and times of one measurement, as the table has them."""
    times = [_ms(timing.median_ms) for timing in (*one.search.values(), one.add)]
    worst = Timing(one.fill.seconds + one.add.seconds).worst_ms
    shares = [f"{one.recall:.3f}", f"{one.attention_mass_recall:.3f}"]
    return [*shares, *times, _ms(worst), _ms(one.reset.median_ms)]


def _as_line(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


def _ms(milliseconds: float) -> str:
    """Three digits, never an exponent."""
    return f"{milliseconds:.0f}" if milliseconds >= 99.95 else f"{milliseconds:#.3g}"
