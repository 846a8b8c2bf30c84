"""The commands ``report`` and ``tune``: what every backend finds and costs on a checkpoint's own keys."""

import importlib.util
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from memstack import ConfigError, MemstackError
from memstack.measure import Workload, label
from memstack_models.cli.commands import NOTHING, OUT, Set, say
from memstack_models.evaluation.recording import CHECKPOINT, recording
from memstack_models.evaluation.tuning import expected_trials, tried_table, tune
from memstack_models.training import run_folder
from memstack_models.training.device import pick_device

Checkpoint = Annotated[str, typer.Argument(help="A run folder, or the name of a checkpoint that ships.")]
Recall = Annotated[float, typer.Option(min=0.0, max=1.0, help="The share of the true neighbours that is good enough.")]
Seed = Annotated[int, typer.Option(min=0, help="Where in the recorded text the memories begin.")]


def report_command(
    checkpoint: Checkpoint = CHECKPOINT,
    out: Annotated[Path, typer.Option(help="Where the page, the pictures and the numbers go.")] = Path("runs/report"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer settings, shorter texts, smaller memories.")] = False,
    recall: Recall = 0.95,
    seed: Seed = 0,
    set_: Set = NOTHING,
    redraw: Annotated[Path | None, typer.Option(help="Only draw again, from this results.json, beside it.")] = None,
) -> None:
    """Measure recall, speed, perplexity and step time of every backend; write a page, pictures and the numbers."""
    if missing := [name for name in ("matplotlib", "jinja2") if importlib.util.find_spec(name) is None]:
        raise MemstackError(f"the report is drawn with {' and '.join(missing)}: pip install 'memstack[plots]'")
    from memstack_models.report import run as report
    from memstack_models.report.collect import FULL, QUICK, expected
    from memstack_models.report.html import PAGE

    if redraw is not None:
        say(f"wrote {report.redraw(redraw)}")
        return
    if out.is_file():
        raise ConfigError(f"--out {out} is a file; name a folder")
    plan = QUICK if quick else FULL
    with _telling(1 + expected(plan)) as tell:
        results = report.report(checkpoint, out, plan, target=recall, seed=seed, overrides=set_, tell=tell)
    for one in results.conclusions:
        say(one)
    say(f"wrote {out / PAGE}")
    for failure in results.failures:
        say(f"failed: {failure.setting}, {failure.entries:,} entries ({failure.part}): {failure.reason}")
    if results.failures:
        raise typer.Exit(1)


def tune_command(
    checkpoint: Checkpoint = CHECKPOINT,
    recall: Recall = 0.95,
    entries: Annotated[int | None, typer.Option(min=1, help="Entries per memory; by default the checkpoint's.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Documents read side by side.")] = 1,
    seed: Seed = 0,
    set_: Set = NOTHING,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file as well.")] = None,
) -> None:
    """Pick the backend and the options that are fastest on this machine at a recall, and say why."""
    if json_ is not None and json_.is_dir():
        raise ConfigError(f"--json {json_} is a folder; name a file")
    run = run_folder.read_config(run_folder.find(checkpoint), set_)
    entries = entries or run.memory.capacity
    with _telling(1 + expected_trials()) as tell:
        tell(f"recording the keys of {checkpoint}")
        workload = Workload(
            recording=recording(checkpoint, entries + run.train.segment, set_),
            rows=rows,
            heads=run.model.kv_heads,
            entries=entries,
            neighbours=run.memory.neighbours,
            seed=seed,
            device=str(pick_device(run.train.device)),
        )
        choice = tune(workload, recall, tell)
    OUT.print(tried_table(choice))
    for trial in choice.trials:
        if trial.note:
            say(f"{label(trial.backend, trial.options)}: {trial.note}")
    say(f"\n{choice.reasons()}\n")
    say(choice.toml(run.memory.neighbours))
    if json_ is not None:
        choice.record(checkpoint).write(json_)
    if any(trial.failed for trial in choice.trials):
        raise typer.Exit(1)


@contextmanager
def _telling(total: int) -> Generator[Callable[[str], None], None, None]:
    """A bar that moves on whenever the next thing to do is told; the total is a guess and grows if need be."""
    columns = MofNCompleteColumn(), BarColumn(16), TimeElapsedColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=OUT, transient=True, disable=not OUT.is_terminal) as progress:
        task = progress.add_task("", total=total)
        begun = 0

        def tell(doing: str) -> None:
            nonlocal begun
            progress.update(task, completed=begun, total=max(total, begun + 1), description=doing)
            begun += 1

        yield tell
