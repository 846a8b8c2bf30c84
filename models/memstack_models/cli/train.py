"""``memstack train``: a run folder is begun, or continued, and trained in to its end."""

from pathlib import Path
from typing import Annotated

import typer

from memstack.cli.console import say
from memstack_models.cli.options import NOTHING, Set
from memstack_models.training import bundled


def train_command(
    recipe: Annotated[
        str, typer.Argument(help="A bundled recipe's name, or a TOML file.", autocompletion=bundled.recipes)
    ],
    set_: Set = NOTHING,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/RECIPE by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the folder.")] = False,
) -> None:
    """Train, reporting loss, memory share, speed and time in the memory."""
    from memstack_models.cli.work import create_trainer, train_with_progress
    from memstack_models.data.load import tokenizer_for
    from memstack_models.data.tokenizer import load_tokenizer
    from memstack_models.training import run_folder

    folder = out or Path("runs") / Path(recipe).stem
    run = run_folder.recipe(recipe, set_)
    begun = resume and run_folder.is_begun(folder)
    if begun:
        run_folder.refuse_other(folder, run)
    else:
        run_folder.refuse_occupied(folder)
    tokenizer = load_tokenizer(folder) if begun else tokenizer_for(run.data)
    trainer = create_trainer(run, folder, tokenizer)
    if begun:
        trainer.resume()
    else:
        # Only now: whatever is wrong with the input has shown by here, and has written nothing.
        run_folder.create(folder, run, tokenizer)
    say(f"{'resuming' if begun else 'starting'} at step {trainer.step} of {run.train.steps}: {folder}")
    train_with_progress(trainer)
    say(f"trained to step {trainer.step}: {folder}")
