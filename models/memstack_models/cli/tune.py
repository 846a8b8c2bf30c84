"""``memstack tune``: the fastest backend and options on this machine at a recall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from memstack import ConfigError
from memstack.cli.complete import backend_names
from memstack.cli.console import OUT, STDOUT, JsonFile, print_alone, say, telling, write_record
from memstack.contract.errors import printable
from memstack_models.cli.options import NOTHING, Checkpoint, Recall, Seed, Set, beside
from memstack_models.training.bundled import CHECKPOINT

if TYPE_CHECKING:
    from memstack_models.evaluation.tuning import Choice


def tune_command(
    checkpoint: Checkpoint = CHECKPOINT,
    recall: Recall = 0.95,
    entries: Annotated[int | None, typer.Option(min=1, help="Entries per memory; by default the checkpoint's.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Documents read side by side.")] = 1,
    seed: Seed = 0,
    backend: Annotated[
        list[str],
        typer.Option(
            "-b",
            "--backend",
            help="Try only this one; may be repeated. By default all installed.",
            autocompletion=backend_names,
        ),
    ] = NOTHING,
    toml: Annotated[
        bool,
        typer.Option("--toml", help="Print the TOML alone on standard output, as is done where that is no terminal."),
    ] = False,
    set_: Set = NOTHING,
    json_: JsonFile = None,
) -> None:
    """Pick the backend and the options that are fastest on this machine at a recall, and say why.

    Into a file goes the [memory] section alone: memstack tune > memory.toml.
    """
    if toml and json_ == STDOUT:
        raise ConfigError("--json - and --toml both want standard output: name a file for --json")
    # For --json -, standard output is spoken for, and all the rest goes to standard error.
    alone = json_ != STDOUT and (toml or not OUT.is_terminal)
    with beside(alone):
        choice, neighbours = _tuned(checkpoint, recall, entries, rows, backend, seed, set_)
        section = choice.toml(neighbours)
        if not alone:
            say(section, whole=True)
        write_record(json_, choice.record(checkpoint))
    if alone:
        print_alone(f"# memstack tune {printable(checkpoint)}: {choice.reasons()}\n{section}")
    if any(trial.failed for trial in choice.trials):
        raise typer.Exit(1)


def _tuned(
    checkpoint: str, recall: float, entries: int | None, rows: int, backends: list[str], seed: int, set_: list[str]
) -> tuple[Choice, int]:
    """The choice, after what was tried and why has been printed; and how many neighbours it is for."""
    from memstack.measure import Workload
    from memstack.measure.sweep import label
    from memstack_models.evaluation.recording import recording
    from memstack_models.evaluation.tuning import chosen, expected_trials, tried_table, tune
    from memstack_models.training import run_folder
    from memstack_models.training.device import pick_device

    specs = chosen(backends)
    run = run_folder.read_config(run_folder.find(checkpoint), set_)
    entries = entries or run.memory.capacity
    with telling(1 + expected_trials(specs)) as tell:
        tell(f"recording the keys of {checkpoint}")
        workload = Workload(
            recording=recording(checkpoint, entries + run.train.segment, set_, tell=lambda line: say(f"note: {line}")),
            rows=rows,
            heads=run.model.kv_heads,
            entries=entries,
            neighbours=run.memory.neighbours,
            seed=seed,
            device=str(pick_device(run.train.device)),
        )
        choice = tune(workload, recall, tell, specs)
    OUT.print(tried_table(choice))
    for trial in choice.trials:
        if trial.note:
            say(f"{label(trial.backend, trial.options)}: {trial.note}")
    say(f"\n{choice.reasons()}\n")
    return choice, run.memory.neighbours
