"""What of a configuration decides a run's losses, and what may change when it is resumed."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

from memstack import BackendOptions, CorpusOptions
from memstack.contract.errors import MemstackError
from memstack.plugins.config import first_problem, plain
from memstack.plugins.placement import is_placement
from memstack.plugins.registry import registry
from memstack_models.data.errors import CheckpointError
from memstack_models.training.checkpoint import newest
from memstack_models.training.config import RunConfig
from memstack_models.training.errors import RunFolderError

Keys = tuple[str, ...]
PROBE, OPTIONS, STEPS = ("memory", "probe"), "options", ("train", "steps")


def sealed(run: RunConfig) -> RunConfig:
    """Return the run with its backend's secrets sealed: they are neither printed nor written from then on."""
    options = registry().sealed(run.memory.backend, run.memory.options)
    return run.model_copy(update={"memory": run.memory.model_copy(update={"options": options})})


def deciding(run: RunConfig) -> dict[str, Any]:
    """Return the part of a configuration that decides losses, as plain values in sections; no secret is in it."""
    kept: dict[str, Any] = {}
    for path, value in _flat(plain(sealed(run))).items():
        if not may_change(run, path):
            section = kept
            for key in path[:-1]:
                section = section.setdefault(key, {})
            section[path[-1]] = value
    return kept


def may_change(run: RunConfig, path: Keys) -> bool:
    """True if a run may go on with another value of this key: it is marked so, or no loss depends on it."""
    if path == STEPS:
        return run.train.schedule == "rsqrt"  # what 1/sqrt(step) gives at a step does not depend on how many follow
    if path[:2] == PROBE:
        return run.memory.probe.below == "warn" and path[2:] != ("below",)  # a probe that only warns changes no loss
    if len(path) > 2 and path[1] == OPTIONS:
        return is_placement(_options_of(run, path[0]), path[2:])
    return is_placement(RunConfig, path)


def refuse_changes(folder: Path, before: RunConfig, now: RunConfig) -> None:
    """RunFolderError, with the first key, if a configuration differs from that of the folder's run in what decides."""
    changed = first_change(_flat(deciding(before)), _flat(deciding(now)))
    if changed is None:
        return
    path, old, new = changed
    what = f"{folder} holds another run: {'.'.join(path)} is {old!r} there and {new!r} here"
    if path == STEPS:
        raise RunFolderError(
            f"{what}, and the cosine schedule ends at the step it was made for: begin a new run from this one's weights"
            f" with {_from(folder)}; with train.schedule=rsqrt a run can be made longer"
        )
    raise RunFolderError(f"{what}; choose another --out")


def refuse_edits(folder: Path, saved: Mapping[str, Any] | None, now: RunConfig) -> None:
    """RunFolderError if a run's configuration is no longer what its checkpoint was written with.

    CheckpointError if what the checkpoint says of it is none. Older checkpoints say nothing.
    """
    if saved is None:
        return
    try:
        before = RunConfig.model_validate(saved)
    except ValidationError as error:
        problem = first_problem(error, RunConfig)
        raise CheckpointError(f"{newest(folder)} is damaged: its run is none ({problem}); use another copy") from None
    changed = first_change(_flat(deciding(before)), _flat(deciding(now)))
    if changed is not None:
        path, old, new = changed
        raise RunFolderError(
            f"the configuration of {folder} is not what its checkpoint was made with: {'.'.join(path)} was {old!r} and "
            f"is {new!r}; put it back, or begin a new run from its weights with {_from(folder)}"
        )


def first_change(before: Mapping[Keys, Any], now: Mapping[Keys, Any]) -> tuple[Keys, Any, Any] | None:
    """Return the first key, in their order, that has two values, and both."""
    for path in sorted(before.keys() | now.keys()):
        if before.get(path) != now.get(path):
            return path, before.get(path), now.get(path)
    return None


def _options_of(run: RunConfig, section: str) -> type[BaseModel]:
    """The options of the run's backend or corpus; of what is not installed nothing is known."""
    try:
        if section == "memory":
            return getattr(registry().backend_class(run.memory.backend), "Options", BackendOptions)
        return getattr(registry().corpus_class(run.data.corpus), "Options", CorpusOptions)
    except MemstackError:
        return BackendOptions


def _flat(tree: Mapping[str, Any], prefix: Keys = ()) -> dict[Keys, Any]:
    flat: dict[Keys, Any] = {}
    for key, value in to_jsonable_python(tree).items():
        path = (*prefix, key)
        flat |= _flat(value, path) if isinstance(value, Mapping) else {path: value}
    return flat


def told_apart(run: RunConfig, other: RunConfig, name: str) -> list[str]:
    """Return a line to show if a recipe, called ``name``, says otherwise than the run that goes on without it."""
    changed = first_change(_flat(deciding(run)), _flat(deciding(other)))
    if changed is None:
        return []
    path, own, its = changed
    return [f"the run goes on by its own configuration, in which {'.'.join(path)} is {own!r}; in {name} it is {its!r}"]


def _from(folder: Path) -> str:
    """How another run begins with this one's weights, as a shell takes it."""
    return f"--from {quote(str(folder))} and another --out"
