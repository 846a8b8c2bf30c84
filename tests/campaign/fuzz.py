"""Fuzzed command lines, recipes and corpora: no traceback, no hang, nothing left behind by a refusal."""

import os
import shlex
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, given
from hypothesis.strategies import SearchStrategy

from campaign import command_lines, recipes
from campaign.forked import both, memstack
from campaign.jobs import Check, Job
from campaign.judging import faults, outcome
from campaign.sandbox import World, caps, changes, snapshot

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.large_base_example]
BATCH = 100
"""Examples that hypothesis makes with one seed: to try one again, no more of them have to be made."""
Value = TypeVar("Value")


def fuzz_lines(job: Job) -> None:
    """Command lines from the commands' own structure, mutated."""
    world = World(job.scratch)
    _each(job, command_lines.lines(), lambda number, words: _tried(job, world, number, words, _nothing))


def fuzz_recipes(job: Job) -> None:
    """Recipes mutated as trees and as bytes."""
    world = World(job.scratch)

    def use(number: int, content: bytes) -> None:
        words = ("train", "recipe.toml", "--out", "out", *(caps() if number % 2 else ()))
        _tried(job, world, number, words, lambda folder: _put(folder / "recipe.toml", content), repr(content))

    _each(job, recipes.recipes(), use)


def fuzz_corpora(job: Job) -> None:
    """Folders of odd files, as corpus of a training and of an evaluation."""
    world = World(job.scratch)

    def use(number: int, files: recipes.Files) -> None:
        train = ("train", "recipe.toml", "--out", "out", *caps(), "--set", "data.corpus=odd")
        words = (*train, "--set", f"data.tokenizer={('bytes', 'bpe')[number // 2 % 2]}")
        if number % 2:
            words = ("eval", "run", "--data", "odd")
        _tried(job, world, number, words, lambda folder: _fill(folder / "odd", files), repr(files))

    _each(job, recipes.files(), use)


def ask_for_help(job: Job) -> None:
    """``--help`` of everything, wherever it stands, and no arguments at all."""
    world = World(job.scratch)
    names = ("", *command_lines.commands(), "nothing")
    words = [
        (name, *rest) if name else rest for name, rest in product(names, ((), ("--help",), ("--help", "x"), ("-h",)))
    ]
    for number, _ in job.cases(min(job.count, len(words))):
        _tried(job, world, number, words[number], _nothing)


def _tried(
    job: Job, world: World, number: int, words: tuple[str, ...], prepare: Callable[[Path], None], also: str = ""
) -> None:
    with world.case() as folder:
        prepare(folder)
        before, surround = snapshot(folder), world.setup(folder)
        done = memstack(words, folder, both(surround, job.plant))
        changed = [] if "diverged" in done.err else changes(before, snapshot(folder))
        found = faults(done, changed, left=os.listdir(folder.parent / "tmp"))
    job.keep(number, f"memstack {shlex.join(words)} {also}".strip(), outcome(done), found)


def _each(job: Job, strategy: SearchStrategy[Value], use: Callable[[int, Value], None]) -> None:
    """Have hypothesis make the examples, batch by batch."""
    for begin in range(0, job.count, BATCH):
        wanted = range(begin, min(begin + BATCH, job.count))
        if job.only is None or job.only in wanted:
            _batch(job, strategy, wanted, use)


def _batch(job: Job, strategy: SearchStrategy[Value], numbers: range, use: Callable[[int, Value], None]) -> None:
    left = iter(numbers)

    def take(value: Value) -> None:
        number = next(left, None)
        if number is not None and job.only in (None, number):
            use(number, value)

    given(strategy)(take)
    quiet = hypothesis.settings(
        max_examples=len(numbers),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=QUIET,
    )
    hypothesis.seed(f"{job.seed}/{job.name}/{numbers.start}")(quiet(given(strategy)(take)))()


def _nothing(folder: Path) -> None:
    """Leave the world as it is."""


def _put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _fill(folder: Path, files: recipes.Files) -> None:
    folder.mkdir()
    recipes.write_files(folder, files)


CHECKS = (
    Check(
        "fuzz",
        "command-lines",
        "Command lines made from the commands' own structure and mutated: no traceback, no hang, "
        "nothing left behind by a refusal, which is one clear line",
        "command lines",
        60,
        5000,
        fuzz_lines,
        12,
    ),
    Check(
        "fuzz",
        "recipes",
        "Recipes mutated as trees and as bytes, trained with: the same",
        "recipes",
        14,
        4000,
        fuzz_recipes,
        10,
    ),
    Check(
        "fuzz",
        "corpora",
        "Folders of odd files, links and encodings, trained on and evaluated: the same",
        "folders",
        40,
        1000,
        fuzz_corpora,
        5,
    ),
    Check("fuzz", "help", "--help of every command and of none", "command lines", 24, 48, ask_for_help, 1),
)
