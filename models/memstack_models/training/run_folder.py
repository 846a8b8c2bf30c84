"""Run folders: the resolved configuration, the tokeniser, the log and the checkpoint of one run."""

import os
import tomllib
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from memstack.plugins import config as configuration
from memstack.plugins.registry import registry
from memstack.plugins.writing import write_whole
from memstack_models.data.documents import anchored
from memstack_models.data.errors import CheckpointError
from memstack_models.data.tokenizer import DIGEST, FILE, Tokenizer, load_tokenizer
from memstack_models.training import checkpoint
from memstack_models.training.bundled import PRETRAINED, RECIPES, checkpoints, recipes
from memstack_models.training.card import CARD, model_card
from memstack_models.training.config import RunConfig
from memstack_models.training.errors import RunFolderError, writing
from memstack_models.training.identity import refuse_changes, sealed
from memstack_models.training.lock import LOCK, locked
from memstack_models.training.log import LOG, append_log, lines_until, read_log, rewind_log
from memstack_models.training.model import new_model
from memstack_models.training.ranks import ALONE, Ranks
from memstack_models.training.sharing import shareable
from memstack_models.training.sizes import refuse_too_large
from memstack_models.transformer.transformer import Transformer

__all__ = ["append_log", "read_log", "rewind_log"]  # beside what is defined here: the log belongs to the folder

CONFIG = "config.toml"
BEGINNING = f"{CONFIG}.writing"
LEFTOVERS = {FILE, DIGEST, BEGINNING, LOCK}
"""What a run killed while it was made may have written."""
AGAIN = "start again"


def recipe(name: str, overrides: Iterable[str]) -> RunConfig:
    """Read a bundled recipe by name, or a TOML file by path, and check the memory's options against its backend."""
    bundled = RECIPES / f"{name}.toml"
    path = bundled if bundled.is_file() else Path(name)
    if not path.is_file():
        names = ", ".join(recipes())
        raise configuration.ConfigError(f"there is no recipe or file {name}; bundled recipes: {names}")
    return placed(checked(configuration.load(RunConfig, path, overrides)))


def placed(run: RunConfig) -> RunConfig:
    """Return the run with its corpus by an absolute path, for it may be resumed or evaluated from another folder."""
    return run.model_copy(update={"data": anchored(run.data)})


def checked(run: RunConfig) -> RunConfig:
    """Return the run after its backend has accepted the memory's options, their secrets sealed."""
    registry().options(run.memory.backend, run.memory.options)
    return sealed(run)


def create(
    folder: Path,
    run: RunConfig,
    tokenizer: Tokenizer,
    save: Callable[[], None] | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Begin a run in an empty or new folder; RunFolderError if it already holds one. ``save`` writes a checkpoint.

    The configuration gets its name last: what a kill leaves before that is no run yet, and is written over. Every rank
    calls it, and saves; the first one writes all the rest.
    """

    def begin() -> None:
        with writing(folder / CONFIG, AGAIN):
            folder.mkdir(parents=True, exist_ok=True)
            tokenizer.save(folder)
            (folder / BEGINNING).write_text(text, encoding="utf-8")

    def end() -> None:
        with writing(folder / CONFIG, AGAIN):
            (folder / BEGINNING).replace(folder / CONFIG)

    ranks.by_first(lambda: refuse_occupied(folder))
    text, made = as_toml(run), not folder.exists()
    try:
        ranks.by_first(begin)
        if save is not None:
            save()
        ranks.by_first(end)
    except BaseException:
        if ranks.first:
            _take_back(folder, made)
        raise


@contextmanager
def held(folder: Path) -> Generator[str | None, None, None]:
    """Make the folder and hold its lock while a run is begun in it and trained; yields what ``locked`` does."""
    made = not folder.exists()
    with writing(folder, AGAIN):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder) as notice:
        try:
            yield notice
        finally:
            if not is_begun(folder):
                _take_back(folder, made)


def as_toml(run: RunConfig) -> str:
    """Return the configuration as it is kept in the folder; ConfigError if it cannot be written and read again."""
    try:
        text = configuration.dump(sealed(run))
        text.encode()
        RunConfig.model_validate(tomllib.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise configuration.ConfigError(f"the configuration cannot be kept in a {CONFIG} of UTF-8: {reason}") from None
    return text


def change(folder: Path, run: RunConfig) -> None:
    """Keep what was changed of a run's configuration when it was resumed."""
    text = as_toml(run)
    if text != as_toml(written_config(folder)):
        with writing(folder / CONFIG):
            write_whole(folder / CONFIG, text)


def refuse_occupied(folder: Path) -> None:
    """RunFolderError unless a run can begin in this folder."""
    try:
        os.fspath(folder).encode()
    except UnicodeEncodeError:
        named = os.fsencode(folder)
        raise RunFolderError(f"the folder's name {named!r} is not UTF-8: choose another --out") from None
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; choose another folder")
    if is_begun(folder):
        raise RunFolderError(f"{folder} already holds a run: continue it with --resume, or choose another --out")
    there = {path.name for path in folder.iterdir()} if folder.exists() else set[str]()
    others = there - LEFTOVERS - ({name for name in there if checkpoint.is_part(name)} if BEGINNING in there else set())
    if others:
        raise RunFolderError(f"{folder} holds other files ({min(others)}, ...); choose a new folder")


def is_begun(folder: Path) -> bool:
    """True once the folder holds a run, even one killed before its first checkpoint."""
    return (folder / CONFIG).is_file()


def read_config(folder: Path, overrides: Iterable[str] = ()) -> RunConfig:
    """The configuration a run was made with, after overrides, with which a secret comes that is kept in no file."""
    return checked(written_config(folder, overrides))


def refuse_other(folder: Path, run: RunConfig) -> None:
    """RunFolderError if the folder's run was made with a configuration that differs in what decides its losses."""
    refuse_changes(folder, written_config(folder), run)


def find(name: str) -> Path:
    """A run folder by path, or a checkpoint that ships with memstack by name."""
    path = Path(name)
    shipped = PRETRAINED / name
    if not path.exists() and shipped.is_dir():
        return shipped
    return path


def load_model(folder: Path, run: RunConfig, device: torch.device) -> tuple[Transformer, Tokenizer]:
    """Build the model of a run folder with its trained weights."""
    tokenizer = load_tokenizer(folder)
    weights = load_weights(folder)
    refuse_too_large(run, tokenizer.vocab_size, device, None, training=False)
    model = new_model(run, tokenizer.vocab_size)
    set_weights(model, weights, folder)
    return model.to(device), tokenizer


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read a checkpoint's weights in float32; CheckpointError if one is no weight."""
    saved = checkpoint.read(folder, ("model.",))
    tensors = {name: tensor for name, tensor in saved.tensors.items() if name.startswith("model.")}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not bool(tensor.float().isfinite().all()):
            raise CheckpointError(
                f"{saved.path} is damaged: {name} should be finite numbers, got {tensor.dtype}; use another copy"
            )
    return {name.removeprefix("model."): tensor.float() for name, tensor in tensors.items()}


def set_weights(model: Transformer, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Load weights, or say in one line which of them has another shape than the configuration asks for."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    came = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(expected.keys() | came.keys()):
        if expected.get(name) != came.get(name):
            raise CheckpointError(
                f"{checkpoint.newest(folder)} is of another shape: {name} is {came.get(name, 'missing')}, "
                f"the configuration asks for {expected.get(name, 'no such weight')}"
            )
    model.load_state_dict(dict(weights))


def export(source: Path, target: Path) -> None:
    """Write a run's weights in bfloat16, tokeniser, configuration, log and a model card to a new folder, to be shared.

    Of paths on this machine only the last part goes with them. The folder appears whole or not at all.
    """
    run, tokenizer = shareable(written_config(source)), load_tokenizer(source)
    tensors, progress = checkpoint.load(source, "model.")
    step = progress["step"]
    refuse_occupied(target)
    with writing(target, AGAIN), locked(target) if target.is_dir() else nullcontext():
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as aside:
            create(made := Path(aside) / target.name, run, tokenizer)
            halved = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
            checkpoint.save(made, halved, {"step": step}, AGAIN)
            write_whole(made / LOG, "".join(lines_until(source, step)))
            write_whole(made / CARD, model_card(target.name, run, step, read_log(made)))
            _take_back(target, target.exists())
            made.rename(target)


def _take_back(folder: Path, made: bool) -> None:
    """Leave nothing of a run that could not be begun, nor the folder if it was made for it."""
    with suppress(OSError):  # on a disk that has gone, that is as it is
        for name in LEFTOVERS:
            (folder / name).unlink(missing_ok=True)
        checkpoint.remove(folder)
        if made:
            folder.rmdir()


def written_config(folder: Path, overrides: Iterable[str] = ()) -> RunConfig:
    """The configuration in the folder, not checked by its backend: its secrets are not there."""
    if not is_begun(folder):
        shipped = ", ".join(checkpoints())
        raise CheckpointError(f"there is no run in {folder}: {CONFIG} is missing; checkpoints that ship: {shipped}")
    return configuration.load(RunConfig, folder / CONFIG, overrides)
