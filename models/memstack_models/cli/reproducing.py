"""A plan shown, and made under a progress bar of its estimated seconds."""

import typer

from memstack.cli import console
from memstack.cli.console import ERR, OUT, progress_bar, say
from memstack.cli.interrupts import no_more_interrupts
from memstack_models.report.reproduce.estimate import Estimate, unlike
from memstack_models.report.reproduce.making import is_made, is_trained
from memstack_models.report.reproduce.plan import Plan, Request, plan
from memstack_models.report.reproduce.run import Course, course, in_words, make_all, processes_of, stem, write
from memstack_models.training.errors import TrainingStopped


def reproduce(request: Request, jobs: int | None, command: str, *, dry_run: bool) -> None:
    """Show the plan of a table, make what is missing and write the page; ``command`` is what makes it again."""
    planned = plan(request)
    ahead, estimate = course(planned, processes_of(planned, jobs))
    show_plan(planned, ahead, estimate)
    if dry_run:
        return
    try:
        failures = make_with_progress(planned, ahead, command)
    except (TrainingStopped, KeyboardInterrupt) as stopped:
        no_more_interrupts()
        say(f"stopped; what is made is kept, go on with: {command}", console=ERR, whole=True)
        raise typer.Exit(stopped.exit_code if isinstance(stopped, TrainingStopped) else 130) from None
    record = write(planned, failures, command)
    for line in record.conclusions:
        say(line)
    say(f"wrote {stem(planned).with_suffix('.md')}")
    for name, reason in failures.items():
        say(f"{name} failed: {reason}", "red")
    if failures:
        raise typer.Exit(1)


def show_plan(plan: Plan, course: Course, estimate: Estimate) -> None:
    """Print the cells, what is left of each, and how long all of it takes."""
    lines = console.table("cell", "corpus", "seed", "is", right=["left", "about"])
    for job in unlike(plan.jobs):
        parts = course.parts[job.folder]
        left = "nothing" if is_made(job) else f"{'' if is_trained(job) else 'training, '}{_readings(parts)}"
        about = in_words(sum(parts.values())) if parts else ""
        lines.add_row(job.cell.name, job.corpus, f"{job.seed}", job.cell.says, left, about)
    OUT.print(lines)
    by = "by cells like them" if estimate.from_made else "by a few steps on this machine"
    at_once = f", {course.processes} at once" if course.processes > 1 else ""
    if course.total:
        say(f"about {in_words(course.total / course.processes)} for what is left{at_once}, {by}")
    else:
        say("all cells are made")


def make_with_progress(plan: Plan, course: Course, command: str) -> dict[str, str]:
    """Make what is missing; a line for each cell, and a bar of estimated seconds; and a page of what there is."""
    with progress_bar(lines=False) as progress:
        task = progress.add_task("reproducing", total=max(1.0, course.total))

        def tick(course: Course) -> None:
            progress.update(task, completed=course.done, description=f"about {in_words(course.left())} left")

        def keep(failures: dict[str, str]) -> None:
            write(plan, failures, command)

        return make_all(plan, course, say, tick, keep)


def _readings(parts: dict[str, float]) -> str:
    count = sum(part != "run" for part in parts)
    return f"{count} reading{'' if count == 1 else 's'}"
