"""``memstack report``: what every backend finds and costs on a checkpoint's own keys, as a page of pictures."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from memstack import ConfigError, MemstackError
from memstack.cli.complete import backend_names
from memstack.cli.console import ERR, say, telling
from memstack_models.cli.options import NOTHING, Checkpoint, Recall, Seed, Set
from memstack_models.training.bundled import CHECKPOINT


def report_command(
    checkpoint: Checkpoint = CHECKPOINT,
    out: Annotated[Path, typer.Option(help="Where the page, the pictures and the numbers go.")] = Path("runs/report"),
    backend: Annotated[
        list[str],
        typer.Option(
            "-b",
            "--backend",
            help="Only this one, beside exact search; may be repeated. By default all installed ones.",
            autocompletion=backend_names,
        ),
    ] = NOTHING,
    opponent: Annotated[
        str | None,
        typer.Option(help="A run to beat on the same text: of the same context and cache, trained without a memory."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer settings, shorter texts, smaller memories.")] = False,
    recall: Recall = 0.95,
    seed: Seed = 0,
    set_: Set = NOTHING,
    redraw: Annotated[Path | None, typer.Option(help="Only draw again, from this results.json, beside it.")] = None,
) -> None:
    """Measure recall, speed, perplexity and step time of every backend; write a page, pictures and the numbers.

    A report that is cut short goes on where it was if it is asked for again with the same --out.
    """
    if missing := [name for name in ("matplotlib", "jinja2") if importlib.util.find_spec(name) is None]:
        raise MemstackError(f"the report is drawn with {' and '.join(missing)}: pip install 'memstack[plots]'")
    from memstack.measure.hardware import machine_load
    from memstack_models.report import plan as plans
    from memstack_models.report import run as report
    from memstack_models.report.html import PAGE

    if redraw is not None:
        say(f"wrote {report.redraw(redraw)}")
        return
    if out.is_file():
        raise ConfigError(f"--out {out} is a file; name a folder")
    if (load := machine_load()) is not None and load.others():
        say(
            f"note: the load of this machine is {load}: something else is running, and times will be too long",
            console=ERR,
        )
    plan = (plans.QUICK if quick else plans.FULL).only(backend)
    request = report.Request(checkpoint=checkpoint, target=recall, seed=seed, overrides=set_, opponent=opponent)
    with telling(1 + plan.expected) as tell:
        results = report.report(request, out, plan, tell)
    for one in results.conclusions:
        say(one)
    say(f"wrote {out / PAGE}")
    for failure in results.failures:
        say(f"failed: {failure.setting}, {failure.entries:,} entries ({failure.part}): {failure.reason}")
    if results.failures:
        raise typer.Exit(1)
