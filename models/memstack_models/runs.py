"""Run folders: the resolved configuration, the tokeniser, the log and the checkpoint of one run."""

import json
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from memstack import config as configuration
from memstack.registry import registry
from memstack_models import checkpoint
from memstack_models.config import RunConfig
from memstack_models.errors import CheckpointError, RunFolderError
from memstack_models.tokenizer import Tokenizer, load_tokenizer
from memstack_models.transformer import Transformer

CONFIG, LOG = "config.toml", "log.jsonl"
MAY_CHANGE = {"log_every", "checkpoint_every", "validate_every", "validate_tokens"}


def recipe(name: str, overrides: Iterable[str]) -> RunConfig:
    """Read a bundled recipe by name, or a TOML file by path, and check the memory's options against its backend."""
    bundled = resources.files("memstack_models") / "recipes" / f"{name}.toml"
    path = Path(str(bundled)) if bundled.is_file() else Path(name)
    if not path.is_file():
        names = sorted(p.name.removesuffix(".toml") for p in (resources.files("memstack_models") / "recipes").iterdir())
        raise configuration.ConfigError(f"there is no recipe or file {name}; bundled recipes: {', '.join(names)}")
    return checked(configuration.load(RunConfig, path, overrides))


def checked(run: RunConfig) -> RunConfig:
    """Return the run after its backend has accepted the memory's options."""
    registry().options(run.memory.backend, run.memory.options)
    return run


def create(folder: Path, run: RunConfig, tokenizer: Tokenizer) -> None:
    """Begin a run in an empty or new folder; RunFolderError if it already holds one."""
    if folder.exists() and any(folder.iterdir()):
        raise RunFolderError(f"{folder} already holds a run: continue it with --resume, or choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder)
    (folder / CONFIG).write_text(configuration.dump(run), encoding="utf-8")


def is_begun(folder: Path) -> bool:
    """True once the folder holds a run, even one killed before its first checkpoint."""
    return (folder / CONFIG).is_file()


def read_config(folder: Path, overrides: Iterable[str] = ()) -> RunConfig:
    """The configuration a run was made with, after overrides."""
    if not is_begun(folder):
        raise CheckpointError(f"there is no run in {folder}: {CONFIG} is missing")
    return checked(configuration.load(RunConfig, folder / CONFIG, overrides))


def refuse_other(folder: Path, run: RunConfig) -> None:
    """RunFolderError if the folder's run was made with a configuration that differs in what decides its losses."""
    saved = _flat(read_config(folder).model_dump())
    wanted = _flat(run.model_dump())
    differing = [key for key in wanted if saved.get(key) != wanted[key] and key.split(".")[-1] not in MAY_CHANGE]
    if differing:
        key = differing[0]
        raise RunFolderError(
            f"{folder} holds another run: {key} is {saved.get(key)!r} there and {wanted[key]!r} here; "
            "choose another --out"
        )


def find(name: str) -> Path:
    """A run folder by path, or a checkpoint that ships with memstack by name."""
    path = Path(name)
    shipped = Path(str(resources.files("memstack_models") / "pretrained" / name))
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
    """Write a run's weights in bfloat16, its tokeniser, configuration and log to a new folder, for others to use."""
    run, tokenizer = read_config(source), load_tokenizer(source)
    tensors, progress = checkpoint.load(source, "model.")
    create(target, run, tokenizer)
    checkpoint.save(target, {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}, progress)
    (target / LOG).write_bytes((source / LOG).read_bytes())


def append_log(folder: Path, entry: Mapping[str, Any]) -> None:
    """Add one line to the run's log."""
    with (folder / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(dict(entry)) + "\n")


def rewind_log(folder: Path, step: int) -> None:
    """Drop what a killed run logged after its last checkpoint; a line cut in half goes as well."""
    path = folder / LOG
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    aside = path.with_suffix(".writing")
    aside.write_text("".join(kept), encoding="utf-8")
    aside.replace(path)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
