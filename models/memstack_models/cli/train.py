"""``memstack train``: a run folder is begun, or continued, and trained in to its end."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memstack import ConfigError
from memstack.cli.console import ERR, only_tell, say
from memstack.cli.interrupts import no_more_interrupts
from memstack_models.cli.options import NOTHING, Set
from memstack_models.training import bundled

if TYPE_CHECKING:
    from memstack_models.data.tokenizer import Tokenizer
    from memstack_models.training.config import RunConfig
    from memstack_models.training.ranks import Ranks
    from memstack_models.training.trainer import Trainer

RUNS = Path("runs")
AGAIN = "start all again with --resume, as torchrun --max-restarts does by itself"


def train_command(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A bundled recipe's name, or a TOML file; with --resume, a run folder will do.",
            autocompletion=bundled.recipes,
        ),
    ] = None,
    set_: Set = NOTHING,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/RECIPE by default.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the folder, by its own configuration.")
    ] = False,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="CHECKPOINT",
            help="Begin with the weights and the tokeniser of a run folder, or of a checkpoint that ships.",
            autocompletion=bundled.checkpoints,
        ),
    ] = None,
) -> None:
    """Train, reporting loss, memory share, speed and time in the memory.

    Ctrl-C and SIGTERM finish the step, save, and print the command to go on; a second one ends at once. Started by
    torchrun, as torchrun --nproc-per-node 4 -m memstack train, its processes share the rows.
    """
    from memstack_models.cli.over_ranks import over_ranks
    from memstack_models.training import run_folder
    from memstack_models.training.errors import TrainingStopped

    only_tell()  # what a training is for lies in its folder
    try:
        with over_ranks(AGAIN) as ranks:
            folder = ranks.together(lambda: folder_of(recipe, out, resume, from_))
            begun = resume and (run_folder.is_begun(folder) or recipe in (None, str(folder)))
            if ranks.most(begun):
                go_on(folder, recipe, set_, ranks)
            else:
                begin(folder, recipe, from_, set_, ranks)
    except TrainingStopped as stopped:
        no_more_interrupts()
        say(str(stopped), console=ERR, whole=True)
        raise typer.Exit(stopped.exit_code) from None


def folder_of(recipe: str | None, out: Path | None, resume: bool, source: str | None) -> Path:
    """The run folder that a command line means; ConfigError if it means none."""
    if out is not None:
        return out
    if resume and recipe is not None and Path(recipe).is_dir() and recipe not in bundled.recipes():
        return Path(recipe)
    if (recipe or source) is None:
        what = (
            "the run to go on with: memstack train --resume --out FOLDER"
            if resume
            else (
                f"a recipe, such as memstack train tiny (bundled: {', '.join(bundled.recipes())}), or --from CHECKPOINT"
            )
        )
        raise ConfigError(f"name {what}")
    return RUNS / Path(recipe or source or "").stem


def begin(folder: Path, recipe: str | None, source: str | None, overrides: list[str], ranks: Ranks) -> None:
    """Begin a run and train. Whatever is wrong with the input shows before anything is written."""
    from memstack_models.cli.work import create_trainer
    from memstack_models.data.load import tokenizer_for
    from memstack_models.data.tokenizer import load_tokenizer
    from memstack_models.training import run_folder
    from memstack_models.training.starting import take_over

    def prepare() -> tuple[RunConfig, Tokenizer]:
        run = configured(recipe, given, overrides)
        run_folder.refuse_occupied(folder)
        run_folder.as_toml(run)
        return run, load_tokenizer(given) if given is not None else tokenizer_for(run.data)

    given = run_folder.find(source) if source is not None else None
    run, tokenizer = ranks.after_first(prepare)
    trainer = create_trainer(run, folder, tokenizer, ranks)
    if given is not None:
        for line in ranks.together(lambda: take_over(trainer.model, run_folder.load_weights(given), given)):
            say(f"note: {line}")
    with ExitStack() as stack:
        notice = ranks.by_first(lambda: stack.enter_context(run_folder.held(folder)))
        run_folder.create(folder, run, tokenizer, trainer.save if given is not None else None, ranks)
        train(trainer, f"starting{f' from {source}' if source else ''}", notice)


def configured(recipe: str | None, source: Path | None, overrides: list[str]) -> RunConfig:
    """The configuration of a new run: a recipe's, or that of the checkpoint it begins from, whose tokeniser it has."""
    from memstack_models.training import run_folder
    from memstack_models.training.errors import RunFolderError
    from memstack_models.training.starting import with_tokenizer_of

    if recipe is not None and run_folder.is_begun(Path(recipe)):
        raise RunFolderError(
            f"{recipe} is a run: go on with --resume, or begin a new one with --from {recipe} --out ..."
        )
    if source is None:
        return run_folder.recipe(recipe or "", overrides)
    there = run_folder.written_config(source)
    if recipe is None:
        run = run_folder.placed(run_folder.read_config(source, overrides))
    else:
        run = run_folder.recipe(recipe, overrides)
    return with_tokenizer_of(run, there)


def go_on(folder: Path, recipe: str | None, overrides: list[str], ranks: Ranks) -> None:
    """Continue a run by its own configuration, in which only what decides no loss may be changed."""
    from memstack_models.cli.work import create_trainer
    from memstack_models.data.tokenizer import load_tokenizer
    from memstack_models.training import run_folder
    from memstack_models.training.identity import told_apart
    from memstack_models.training.lock import locked

    def prepare() -> RunConfig:
        run = run_folder.placed(run_folder.read_config(folder, overrides))
        run_folder.refuse_other(folder, run)
        if recipe is not None and not Path(recipe).is_dir():
            for line in told_apart(run, run_folder.recipe(recipe, overrides), recipe):
                say(f"note: {line}")
        return run

    run = ranks.together(prepare)
    with ExitStack() as stack:
        notice = ranks.by_first(lambda: stack.enter_context(locked(folder)))
        trainer = create_trainer(run, folder, ranks.together(lambda: load_tokenizer(folder)), ranks)
        trainer.resume()
        ranks.by_first(lambda: run_folder.change(folder, run))
        train(trainer, "resuming", notice)


def train(trainer: Trainer, doing: str, notice: str | None) -> None:
    """Train to the end, in a folder whose lock is held, and say so."""
    from memstack_models.cli.work import train_with_progress

    if notice is not None:
        say(f"note: {notice}")
    say(f"{doing} at step {trainer.step} of {trainer.run.train.steps}: {trainer.folder}")
    train_with_progress(trainer, held=True)
    say(f"trained to step {trainer.step}: {trainer.folder}")
