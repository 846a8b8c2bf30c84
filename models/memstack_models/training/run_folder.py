"""Run folders: the resolved configuration, the tokeniser, the log and the checkpoint of one run."""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from memstack.plugins import config as configuration
from memstack.plugins.records import write_whole
from memstack.plugins.registry import registry
from memstack.plugins.secrets import without_secrets
from memstack_models.data.documents import anchored
from memstack_models.data.errors import CheckpointError
from memstack_models.data.tokenizer import DIGEST, FILE, Tokenizer, load_tokenizer
from memstack_models.training import checkpoint
from memstack_models.training.bundled import PRETRAINED, RECIPES, checkpoints, recipes
from memstack_models.training.card import CARD, model_card
from memstack_models.training.config import RunConfig
from memstack_models.training.errors import RunFolderError
from memstack_models.training.records import LogEntry, log_entry
from memstack_models.training.sharing import shareable
from memstack_models.transformer.transformer import Transformer

CONFIG, LOG = "config.toml", "log.jsonl"
LEFTOVERS = {FILE, DIGEST, f"{CONFIG}.writing"}
"""What a run killed while it was made may have written."""
MAY_CHANGE = {
    *(f"train.{name}" for name in ("log_every", "checkpoint_every", "validate_every", "validate_tokens")),
    "train.checkpoint_activations",
    "memory.options.overlap",
}
PROBE = "memory.probe."


def recipe(name: str, overrides: Iterable[str]) -> RunConfig:
    """Read a bundled recipe by name, or a TOML file by path, and check the memory's options against its backend."""
    bundled = RECIPES / f"{name}.toml"
    path = bundled if bundled.is_file() else Path(name)
    if not path.is_file():
        names = ", ".join(recipes())
        raise configuration.ConfigError(f"there is no recipe or file {name}; bundled recipes: {names}")
    run = checked(configuration.load(RunConfig, path, overrides))
    # The run may be resumed or evaluated from another folder.
    return run.model_copy(update={"data": anchored(run.data)})


def checked(run: RunConfig) -> RunConfig:
    """Return the run after its backend has accepted the memory's options, their secrets sealed."""
    registry().options(run.memory.backend, run.memory.options)
    return sealed(run)


def sealed(run: RunConfig) -> RunConfig:
    """Return the run with its backend's secrets sealed: they are neither printed nor written from then on."""
    options = registry().sealed(run.memory.backend, run.memory.options)
    return run.model_copy(update={"memory": run.memory.model_copy(update={"options": options})})


def create(folder: Path, run: RunConfig, tokenizer: Tokenizer) -> None:
    """Begin a run in an empty or new folder; RunFolderError if it already holds one.

    The configuration is written last: what a kill leaves before that is no run yet, and is written over.
    """
    refuse_occupied(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder)
    write_whole(folder / CONFIG, configuration.dump(sealed(run)))


def refuse_occupied(folder: Path) -> None:
    """RunFolderError unless a run can begin in this folder."""
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; choose another folder")
    if is_begun(folder):
        raise RunFolderError(f"{folder} already holds a run: continue it with --resume, or choose another --out")
    others = {path.name for path in folder.iterdir()} - LEFTOVERS if folder.exists() else set[str]()
    if others:
        raise RunFolderError(f"{folder} holds other files ({min(others)}, ...); choose a new folder")


def is_begun(folder: Path) -> bool:
    """True once the folder holds a run, even one killed before its first checkpoint."""
    return (folder / CONFIG).is_file()


def read_config(folder: Path, overrides: Iterable[str] = ()) -> RunConfig:
    """The configuration a run was made with, after overrides, with which a secret comes that is kept in no file."""
    return checked(_written_config(folder, overrides))


def refuse_other(folder: Path, run: RunConfig) -> None:
    """RunFolderError if the folder's run was made with a configuration that differs in what decides its losses."""
    before, now = (_flat(without_secrets(sealed(each).model_dump())) for each in (_written_config(folder), run))
    # What 1/sqrt(step) gives at a step does not depend on how many follow.
    may_change = MAY_CHANGE | ({"train.steps"} if run.train.schedule == "rsqrt" else set())
    keys = before.keys() | now.keys()
    if all(each.get(f"{PROBE}below") == "warn" for each in (before, now)):
        may_change |= {key for key in keys if key.startswith(PROBE)}  # a probe that only warns changes no loss
    for key in sorted(keys):
        if before.get(key) != now.get(key) and key not in may_change and not key.startswith("eval."):
            raise RunFolderError(
                f"{folder} holds another run: {key} is {before.get(key)!r} there and {now.get(key)!r} here; "
                "choose another --out"
            )


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
    tensors, _ = checkpoint.load(folder, "model.")
    model = Transformer(run.model, tokenizer.vocab_size, run.memory.neighbours)
    weights = {name.removeprefix("model."): tensor.float() for name, tensor in tensors.items()}
    load_weights(model, weights, folder)
    return model.to(device), tokenizer


def load_weights(model: Transformer, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Load weights, or say in one line which of them has another shape than the configuration asks for."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    came = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(expected.keys() | came.keys()):
        if expected.get(name) != came.get(name):
            raise CheckpointError(
                f"{folder / checkpoint.FILE} is of another shape: {name} is {came.get(name, 'missing')}, "
                f"the configuration asks for {expected.get(name, 'no such weight')}"
            )
    model.load_state_dict(dict(weights))


def export(source: Path, target: Path) -> None:
    """Write a run's weights in bfloat16, tokeniser, configuration, log and a model card to a new folder, to be shared.

    Of paths on this machine only the last part goes with them. The folder appears whole or not at all.
    """
    run, tokenizer = shareable(_written_config(source)), load_tokenizer(source)
    tensors, progress = checkpoint.load(source, "model.")
    refuse_occupied(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as aside:
        create(made := Path(aside) / target.name, run, tokenizer)
        checkpoint.save(
            made, {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}, {"step": progress["step"]}
        )
        write_whole(made / LOG, "".join(_log_until(source, progress["step"])))
        log = [entry for entry in read_log(source) if entry.step <= progress["step"]]
        write_whole(made / CARD, model_card(target.name, run, progress["step"], log))
        if target.exists():
            target.rmdir()
        made.rename(target)


def append_log(folder: Path, entry: LogEntry) -> None:
    """Add one line to the run's log."""
    with (folder / LOG).open("a", encoding="utf-8") as log:
        log.write(entry.as_json() + "\n")


def rewind_log(folder: Path, step: int) -> None:
    """Drop what a killed run logged after its last checkpoint; a line cut in half goes as well."""
    write_whole(folder / LOG, "".join(_log_until(folder, step)))


def read_log(folder: Path) -> list[LogEntry]:
    """The run's log, entry by entry; RecordError for a line that is none."""
    lines = enumerate(_log_until(folder, sys.maxsize), 1)
    return [log_entry(json.loads(line), f"{folder / LOG}, line {number}") for number, line in lines]


def _log_until(folder: Path, step: int) -> list[str]:
    path = folder / LOG
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True) if path.is_file() else []
    return [line for line in lines if _step_of(line) <= step]


def _step_of(line: str) -> int:
    """The step a log line is about; beyond every step if the line was not written to its end."""
    try:
        return json.loads(line)["step"] if line.endswith("\n") else sys.maxsize + 1
    except json.JSONDecodeError:
        return sys.maxsize + 1


def _written_config(folder: Path, overrides: Iterable[str] = ()) -> RunConfig:
    """The configuration in the folder, not checked by its backend: its secrets are not there."""
    if not is_begun(folder):
        shipped = ", ".join(checkpoints())
        raise CheckpointError(f"there is no run in {folder}: {CONFIG} is missing; checkpoints that ship: {shipped}")
    return configuration.load(RunConfig, folder / CONFIG, overrides)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
