"""Several runs compared: each reads the first one's text, with its own memory."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import typer
from rich.table import Table

from memstack import ConfigError
from memstack.cli.console import STDOUT, progress_bar, say, write_record
from memstack.contract.errors import in_one_line
from memstack.plugins.config import ProbeConfig
from memstack_models.cli.over_ranks import is_lost
from memstack_models.evaluation.comparison import Comparison
from memstack_models.evaluation.records import ComparedRun, RunsRecord
from memstack_models.evaluation.runs import First, compared_run, notes, runs_table, text_of
from memstack_models.training import run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.ranks import ALONE, Ranks

UNWATCHED = ProbeConfig(every=0)


def compare_runs(
    names: Sequence[str],
    source: str | None,
    overrides: Sequence[str],
    show: Callable[[Table], None],
    json_: Path | None,
    ranks: Ranks = ALONE,
) -> None:
    """Evaluate the runs on one text, the first one's or that of ``source``, and show a line for each.

    A run that fails is said, and the others go on; then the command ends with code 1. Of several ranks the first shows.
    """
    folders, text = ranks.together(lambda: _found(names, overrides, source))
    results: dict[str, ComparedRun] = {}
    failures: dict[str, str] = {}
    first: First | None = None

    def keep() -> None:
        ranks.by_first(lambda: write_record(json_, RunsRecord(runs=results, failures=failures)))

    for name, folder in folders.items():
        try:
            results[name], own = _evaluated(name, folder, overrides, text, first, ranks)
            first = first or own
        except Exception as error:
            if is_lost(error, ranks) or (name == names[0] and ranks.is_ours(error)):
                raise  # the latter is about the text as well
            failures[name] = in_one_line(error)
        if json_ != STDOUT:  # what took minutes should outlive what comes after it
            keep()
    ranks.by_first(lambda: show(runs_table(results)))
    for line in notes(results):
        say(f"note: {line}")
    for name, reason in failures.items():
        say(f"{name} failed: {reason}", "red")
    keep()
    if failures:
        raise typer.Exit(1)


def _found(names: Sequence[str], overrides: Sequence[str], source: str | None) -> tuple[dict[str, Path], RunConfig]:
    """The runs' folders, and the run whose text is read; a mistake in any shows now, not after minutes."""
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{twice} is named more than once: name each checkpoint once")
    folders = {name: run_folder.find(name) for name in names}
    text = text_of(folders[names[0]], overrides, source)
    for folder in folders.values():
        run_folder.read_config(folder, overrides)
    return folders, text


def _evaluated(
    name: str, folder: Path, overrides: Sequence[str], text: RunConfig, first: First | None, ranks: Ranks
) -> tuple[ComparedRun, First]:
    """What came of a run, and what those after it are compared with if it is the first."""
    comparison = ranks.after_first(lambda: Comparison(folder, overrides, UNWATCHED, text, ranks))
    if first is None:
        for line in comparison.notices():
            say(f"note: {line}")
    with progress_bar() as progress:
        task = progress.add_task(name, total=comparison.tokens)
        result = compared_run(comparison, folder, first, partial(progress.advance, task))
    return result, First(comparison.tokenizer.identity, result.perplexity, result.bits_per_byte)
