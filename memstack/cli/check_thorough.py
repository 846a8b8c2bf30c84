"""What ``memstack check --thorough`` does and shows: each way of trying a backend, and Python for what went wrong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from memstack.cli.check_report import STYLES
from memstack.cli.console import OUT, say, table, telling, write_record
from memstack.cli.records import ThoroughRecord
from memstack.plugins.registry import registry
from memstack.testing.thorough import ThoroughReport, check_thoroughly
from memstack.testing.thorough.check import PARTS
from memstack.testing.thorough.report import told


def check(
    backend: str,
    options: Mapping[str, Any],
    seconds: float | None,
    operations: int | None,
    seed: int | None,
    json_: Path | None,
) -> bool:
    """Try a backend, print what came of it and write it down; return whether nothing went wrong."""
    with telling(len(PARTS)) as tell:
        report = check_thoroughly(backend, options, seconds=seconds, operations=operations, seed=seed, tell=tell)
    print_thorough(report)
    libraries = registry().spec(backend).installed()
    write_record(
        json_,
        ThoroughRecord(
            backend=backend, libraries=libraries, options=dict(options), seed=report.seed, tried=report.tried
        ),
    )
    return report.passed


def print_thorough(report: ThoroughReport) -> None:
    """Print what was tried, how often and with what outcome; then whatever went wrong, and how to see it again."""
    OUT.print(_table(report))
    for tried in report.tried:
        if tried.not_run:
            say(f"not run: {tried.about}: {tried.not_run}")
    for finding in report.findings:
        say(told(finding), whole=True)
    found = len(report.findings)
    outcome = "nothing differs" if report.passed else f"{found} {'difference' if found == 1 else 'differences'}"
    say(f"{report.subject}: {outcome}; --seed {report.seed} repeats it")


def _table(report: ThoroughReport) -> Table:
    lines = table("tried", "result", right=["how often", "seconds"])
    lines.add_column("of which")
    for each in report.tried:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(each.counts.items(), key=lambda pair: -pair[1]))
        often = f"{each.done:,} {each.unit}"
        style = STYLES.get(each.outcome, "yellow")
        lines.add_row(each.about, f"[{style}]{each.outcome}[/]", often, f"{each.seconds:.1f}", kinds)
    return lines
