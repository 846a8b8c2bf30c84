"""Damaged checkpoints, run folders and caches: refused in one clear line, or harmless; never taken for sound."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from campaign.damaging import damage
from campaign.forked import Done, Setup, both
from campaign.jobs import Check, Job
from campaign.judging import faults, outcome
from campaign.runs import Trained, differences, to_the_end, trained, words
from campaign.sandbox import World

EVAL = ("eval", "run", "--json", "out.json")
EXPORT = ("export", "run", "exported")
RESUME = (*words(6), "--resume")
RUN_FILES = (
    "rank-0.safetensors",
    "rank-0.safetensors",
    "manifest.json",
    "tokenizer.json",
    "tokenizer.sha256",
    "config.toml",
)


@dataclass(frozen=True)
class Sound:
    """What the commands give where nothing is damaged."""

    evaluated: str
    exported: dict[str, torch.Tensor]
    run: Trained


def damage_run(job: Job) -> None:
    """A file of a run folder is damaged; the run is evaluated, exported or resumed."""
    world = World(job.scratch)
    _train_half(world)
    sound = _sound(world)
    for number, chance in job.cases():
        with world.case() as folder:
            name = chance.choice((*RUN_FILES, "log.jsonl"))
            command = RESUME if name == "log.jsonl" else chance.choice((EVAL, EXPORT, RESUME))
            path = next((folder / ("out" if command == RESUME else "run")).rglob(name))
            how = damage(path, chance)
            done = to_the_end(command, folder, both(world.setup(folder), job.plant))
            end, found = _judged(done, command, folder, sound, path)
        if how:
            job.keep(number, f"{how}; memstack {command[0]}", end, found)


def _train_half(world: World) -> None:
    """Put a run of three steps of six into the world, as ``out``."""
    folder = world.template
    stopped = to_the_end(words(6), folder, _stopping_at(4))
    if not any((folder / "out").glob("checkpoint-*")):
        raise RuntimeError(f"no run to damage: {stopped.err}")


def _stopping_at(step: int) -> Setup:
    from memstack_models.training.trainer import Trainer

    advance = Trainer.advance

    def stop(self: Trainer) -> Any:
        if self.step + 1 == step:
            os._exit(0)
        return advance(self)

    def setup() -> None:
        Trainer.advance = stop

    return setup


def _sound(world: World) -> Sound:
    with world.case() as folder:
        for command in (EVAL, EXPORT, RESUME):
            done = to_the_end(command, folder, world.setup(folder))
            if done.code != 0:
                raise RuntimeError(f"{command} fails where nothing is damaged: {done.err}")
        return Sound(_evaluated(folder), trained_weights(folder / "exported"), trained(folder / "out"))


def _judged(done: Done, command: tuple[str, ...], folder: Path, sound: Sound, path: Path) -> tuple[str, list[str]]:
    """Return the end, and what is wrong with it."""
    found = faults(done)
    if done.code != 0 or found:
        return outcome(done), found
    if path.name == "config.toml" and _other_words(path):
        return "read as an edited configuration", []
    wrong = _differing(command, folder, sound, logs=path.name != "log.jsonl")
    return "harmless: the same result", [f"taken for sound: {path.name}, {each}" for each in wrong]


def _other_words(path: Path) -> bool:
    """Whether a configuration can be read, and says something: it is made to be edited, and has no digest."""
    from memstack_models.training import run_folder

    return bool(run_folder.read_config(path.parent))


def _differing(command: tuple[str, ...], folder: Path, sound: Sound, *, logs: bool) -> list[str]:
    if command == EVAL:
        return [] if _evaluated(folder) == sound.evaluated else ["and another perplexity is reported"]
    if command == EXPORT:
        same = _equal(trained_weights(folder / "exported"), sound.exported)
        return [] if same else ["and other weights are exported"]
    got = trained(folder / "out")
    return [each for each in differences(got, sound.run) if logs or "losses" not in each]


def _evaluated(folder: Path) -> str:
    tree = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    return json.dumps(tree["memories"], sort_keys=True)


def trained_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights in a checkpoint."""
    from memstack_models.training import checkpoint

    return checkpoint.load(folder)[0]


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def damage_cache(job: Job) -> None:
    """An entry of the cache is damaged: tokens, a vocabulary, recorded keys, the compiled loop; it is made again."""
    world = World(job.scratch)
    uses: dict[str, Callable[[], str]] = {"tokens": _tokens, "vocabulary": _vocabulary, "keys": _keys, "loop": _loop}
    sound = {name: _filled(world, use, world.scratch / name) for name, use in uses.items()}
    for number, chance in job.cases():
        name = chance.choices(list(uses), (3, 3, 3, 1))[0]  # to compile takes seconds
        _renewed(world.scratch / name, world.cache)
        if entries := sorted(world.cache.iterdir()):
            _one_entry(job, world, number, damage(chance.choice(entries), chance), (uses[name], sound[name]))
        else:
            job.skip(f"there is no entry for {name} here")


def _filled(world: World, use: Callable[[], str], keep: Path) -> str:
    """Use an empty cache, and keep what is in it afterwards; returns the answer."""
    shutil.rmtree(world.cache, ignore_errors=True)
    world.cache.mkdir(mode=0o700)
    with world.case() as folder:
        done = _answer(use, folder, world.setup(folder))
    if done.code != 0:
        raise RuntimeError(f"what fills the cache fails: {done.err}")
    shutil.copytree(world.cache, keep)
    return done.out


def _renewed(sound: Path, cache: Path) -> None:
    shutil.rmtree(cache)
    shutil.copytree(sound, cache)


def _one_entry(job: Job, world: World, number: int, how: str, use: tuple[Callable[[], str], str]) -> None:
    with world.case() as folder:
        done = _answer(use[0], folder, both(world.setup(folder), job.plant))
    found = faults(done)
    if not found and done.code == 0 and done.out != use[1]:
        found = [f"taken for sound: a cache entry, and another answer is given: {done.out[:80]}"]
    if how:
        job.keep(number, how, "made again, the same result" if done.code == 0 else outcome(done), found)


def _answer(use: Callable[[], str], folder: Path, setup: Setup) -> Done:
    """Print what the use of an entry gives, as a command line would."""

    def also() -> None:
        from memstack.cli import main as cli

        setup()
        cli.main = lambda: print(use())  # noqa: T201 - read by the parent

    return to_the_end((), folder, also)


def _tokens() -> str:
    from memstack_models.data.config import DataConfig
    from memstack_models.data.load import tokenized, tokenizer_for

    data = DataConfig(corpus="corpus", tokenizer="bytes")
    return _digest(tokenized(data, "train", tokenizer_for(data)).documents)


def _vocabulary() -> str:
    from memstack_models.data.config import DataConfig
    from memstack_models.data.load import tokenizer_for

    return tokenizer_for(DataConfig(corpus="corpus", vocab_size=300)).identity


def _keys() -> str:
    from memstack_models.evaluation.recording import recording

    found = recording("run", 64)
    return _digest([found.keys, found.queries])


def _loop() -> str:
    import memstack

    data = torch.Generator().manual_seed(0)
    shape = memstack.MemoryShape(rows=1, heads=1, key_dim=64, value_dim=64, capacity=4096)
    memory = memstack.create_memory("exact", shape)
    keys = torch.randn(1, 1, 4096, 64, generator=data)
    memory.add(keys, keys)
    return _digest([memory.search(torch.randn(1, 1, 8, 64, generator=data), 8).positions])


def _digest(tensors: list[torch.Tensor]) -> str:
    import hashlib

    return hashlib.sha256(b"".join(each.contiguous().numpy().tobytes() for each in tensors)).hexdigest()


CHECKS = (
    Check(
        "damage",
        "run",
        "Checkpoint, tokeniser, digest, configuration and log of a run with flipped bits, cut, zeroed, swapped, "
        "followed or replaced by something else; evaluated, exported or resumed: refused in one clear line, or the "
        "same result",
        "damaged files",
        30,
        400,
        damage_run,
        4,
    ),
    Check(
        "damage",
        "cache",
        "Tokens, vocabularies, recorded keys and the compiled loop in the cache, damaged in the same ways: made again, "
        "with the same result",
        "damaged entries",
        4,
        100,
        damage_cache,
        3,
    ),
)
