"""A training small enough to be killed many times: its command, what it leaves, and what must be so after a resume."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from memstack_models.training import checkpoint, run_folder
from torch import Tensor

from campaign.forked import Child, Done, Setup, memstack
from campaign.judging import faults
from campaign.sandbox import World

STEPS = 24
AGAIN = "--resume"
END = 120.0
"""Seconds within which a training ends."""


def words(steps: int = STEPS) -> tuple[str, ...]:
    """Return the command that trains in ``out``."""
    settings = f"train.steps={steps}", "train.checkpoint_every=3", "train.log_every=1"
    return ("train", "recipe.toml", "--out", "out", *(part for setting in settings for part in ("--set", setting)))


@dataclass(frozen=True)
class Trained:
    """What a training has left in its folder."""

    losses: tuple[tuple[int, float], ...]
    tensors: dict[str, Tensor]
    names: frozenset[str]
    seconds: float = 0


def trained(folder: Path, seconds: float = 0) -> Trained:
    """Read what a training has left."""
    lines = (folder / run_folder.LOG).read_text(encoding="utf-8").splitlines()
    losses = tuple((entry["step"], entry["loss"]) for entry in map(json.loads, lines) if "loss" in entry)
    names = frozenset(path.name for path in folder.iterdir())
    return Trained(losses, checkpoint.load(folder)[0], names, seconds)


def uninterrupted(world: World, steps: int = STEPS) -> Trained:
    """Train without any interruption."""
    with world.case() as folder:
        done = to_the_end(words(steps), folder, world.setup(folder))
        if done.code != 0:
            raise RuntimeError(f"an uninterrupted training ends with {done.code}: {done.err}")
        return trained(folder / "out", done.seconds)


def to_the_end(command: tuple[str, ...], folder: Path, setup: Setup) -> Done:
    """Run a command line to its end, however long it works."""
    return Child(command, folder, setup).wait(END, to_the_end=True)


def resumed(folder: Path, setup: Setup, whole: Trained, steps: int = STEPS) -> list[str]:
    """Resume to the end, and return what differs from the uninterrupted run."""
    done = to_the_end((*words(steps), AGAIN), folder, setup)
    if done.code != 0:
        return [*faults(done), f"--resume ends with {done.code}: {done.err.strip()[-300:]}"]
    return differences(trained(folder / "out"), whole)


def differences(got: Trained, whole: Trained) -> list[str]:
    """Return how what a run has left differs from what another has, to the bit."""
    found: list[str] = []
    if got.losses != whole.losses:
        wrong = sorted(set(got.losses) ^ set(whole.losses))[:2]
        found.append(f"changed losses: {len(got.losses)} logged, {len(whole.losses)} expected, the first {wrong}")
    found += [f"changed weights: {name}" for name in _unequal(got.tensors, whole.tensors)[:1]]
    if more := got.names - whole.names - {"log.rejected.jsonl"}:  # lines of a damaged log are kept aside
        found.append(f"left in the run folder: {', '.join(sorted(more))}")
    return found


def begun(child: Child, seconds: float = 60) -> bool:
    """Wait until a training says that it starts; False if it ends before, or never says so."""
    for _ in range(int(seconds / 0.005)):
        if "at step" in child.printed():
            return True
        if child.ended(0.005):
            return False
    return False


def probe(command: tuple[str, ...], folder: Path, setup: Setup) -> Done:
    """Run another command on the same folder."""
    return memstack(command, folder, setup)


def _unequal(got: dict[str, Tensor], whole: dict[str, Tensor]) -> list[str]:
    missing = sorted(got.keys() ^ whole.keys())
    return missing + [name for name in sorted(got.keys() & whole) if not torch.equal(got[name], whole[name])]
