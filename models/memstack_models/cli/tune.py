"""``memstack tune``: the fastest backend and options on this machine at a recall."""

from typing import Annotated

import typer

from memstack.cli.console import OUT, JsonFile, say, telling, write_record
from memstack_models.cli.options import NOTHING, Checkpoint, Recall, Seed, Set
from memstack_models.training.bundled import CHECKPOINT


def tune_command(
    checkpoint: Checkpoint = CHECKPOINT,
    recall: Recall = 0.95,
    entries: Annotated[int | None, typer.Option(min=1, help="Entries per memory; by default the checkpoint's.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Documents read side by side.")] = 1,
    seed: Seed = 0,
    set_: Set = NOTHING,
    json_: JsonFile = None,
) -> None:
    """Pick the backend and the options that are fastest on this machine at a recall, and say why."""
    from memstack.measure import Workload
    from memstack.measure.sweep import label
    from memstack_models.evaluation.recording import recording
    from memstack_models.evaluation.tuning import expected_trials, tried_table, tune
    from memstack_models.training import run_folder
    from memstack_models.training.device import pick_device

    run = run_folder.read_config(run_folder.find(checkpoint), set_)
    entries = entries or run.memory.capacity
    with telling(1 + expected_trials()) as tell:
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
    say(choice.toml(run.memory.neighbours), whole=True)
    write_record(json_, choice.record(checkpoint))
    if any(trial.failed for trial in choice.trials):
        raise typer.Exit(1)
