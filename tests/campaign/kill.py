"""Killed at any moment, interrupted, and two at once: a training resumes with the losses of an uninterrupted one."""

import os
import random
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from campaign.forked import Child, Setup, both
from campaign.jobs import Check, Job
from campaign.judging import refusal_faults
from campaign.runs import AGAIN, Trained, begun, differences, probe, resumed, trained, uninterrupted, words
from campaign.sandbox import World

EVENTS = 60
"""Files opened, renamed and removed in the run folder by a whole training, about."""
TORN = b'{"kind": "step", "version": 1, "st'
TWO = 90
"""Steps of a training beside which another is begun."""
EXITS = {signal.SIGINT: 130, signal.SIGTERM: 143}

Killer = Callable[[Child, random.Random, Path], None]


def kill_training(job: Job) -> None:
    """SIGKILL up to three times, then resume to the end."""
    world = World(job.scratch)
    whole = uninterrupted(world)
    for number, chance in job.cases():
        with world.case() as folder:
            told = [_kill_once(job, world, folder, chance, whole, again=i > 0) for i in range(chance.randint(1, 3))]
            found = resumed(folder, _planted(job, world, folder), whole)
        job.keep(number, " then ".join(told), "resumed to the same losses", found)


def _kill_once(job: Job, world: World, folder: Path, chance: random.Random, whole: Trained, *, again: bool) -> str:
    """Kill a training once; returns when."""
    how, setup = chance.choice(("moment", "event", "save")), _planted(job, world, folder)
    event = chance.randint(1, EVENTS)
    command = (*words(), AGAIN) if again else words()
    child = Child(command, folder, both(setup, _dying(event)) if how == "event" else setup)
    if how == "moment":
        child.ended(chance.uniform(0, whole.seconds))
    elif how == "save":
        _wait_for_a_save(child, chance, folder / "out")
    else:
        child.ended(60)
    child.send(signal.SIGKILL)
    done = child.wait()
    torn = (folder / "out" / "log.jsonl").exists() and done.code == -signal.SIGKILL and chance.random() < 0.3
    if torn:
        with (folder / "out" / "log.jsonl").open("ab") as log:
            log.write(TORN)
    at = f"at file event {event}" if how == "event" else f"in a {how}"
    return f"{at}{' with a torn line in the log' * torn} after {done.seconds:.2f} s"


def _wait_for_a_save(child: Child, chance: random.Random, folder: Path) -> None:
    """Wait until some checkpoint is being written beside its place, and a little more."""
    wanted, seen, was = chance.randint(1, 8), 0, False
    while not child.ended(0):
        now = folder.is_dir() and any(name.startswith("checkpoint") and "writ" in name for name in os.listdir(folder))
        seen, was = seen + (now and not was), now
        if seen >= wanted:
            time.sleep(chance.uniform(0, 0.001))
            return


def _dying(event: int) -> Setup:
    """Have a process kill itself as it opens, renames or removes its n-th file in ``out``."""
    seen = 0

    def watch(name: str, given: tuple[Any, ...]) -> None:
        nonlocal seen
        if name in ("open", "os.rename", "os.remove", "os.mkdir", "os.chmod") and "out" in Path(str(given[0])).parts:
            seen += 1
            if seen == event:
                os.kill(os.getpid(), signal.SIGKILL)

    return lambda: sys.addaudithook(watch)


def interrupt_training(job: Job) -> None:
    """SIGINT and SIGTERM at any moment: the step is finished and saved, and how to go on is printed."""
    world = World(job.scratch)
    whole = uninterrupted(world)
    for number, chance in job.cases():
        with world.case() as folder:
            which, twice = chance.choice(list(EXITS)), not chance.randrange(4)
            child = Child(words(), folder, _planted(job, world, folder))
            begun(child)
            child.ended(chance.uniform(0, whole.seconds))
            child.send(which)
            if twice:
                child.ended(chance.uniform(0, 0.02))
                child.send(which)
            done = child.wait(60, to_the_end=True)
            found = [] if done.code == 0 else _not_graceful(done.code, done.out + done.err, which, folder, twice=twice)
            found += resumed(folder, _planted(job, world, folder), whole)
        job.keep(number, f"{which.name}{' twice' * twice} after {done.seconds:.2f} s", _ended(done.code), found)


def _not_graceful(code: int | None, printed: str, which: signal.Signals, folder: Path, *, twice: bool) -> list[str]:
    """What was not graceful about an end; a second signal may end it at once."""
    found: list[str] = []
    if code != EXITS[which] and not (twice and code in (-which, *EXITS.values())):
        found.append(f"{which.name} ends with exit status {code}, not {EXITS[which]}: {printed.strip()[-200:]}")
    if "Traceback" in printed:
        found.append(f"{which.name} ends in a traceback: {printed.strip().splitlines()[-1]}")
    if twice:
        return found
    if AGAIN not in printed:
        found.append(f"{which.name}: no command to go on with is printed: {printed.strip()[-200:]}")
    if not any((folder / "out").glob("checkpoint-*")):
        return [*found, f"{which.name}: nothing was saved"]
    left = trained(folder / "out")
    last = max((step for step, _ in left.losses), default=0)
    if left.tensors and (saved := _step(folder / "out")) != last:
        found.append(f"{which.name}: step {saved} was saved, {last} was reached")
    return found


def _step(folder: Path) -> int:
    from memstack_models.training import checkpoint

    return int(checkpoint.load(folder, "none")[1]["step"])


def _ended(code: int | None) -> str:
    return "done before the signal" if code == 0 else "saved, and resumed to the same losses"


def train_twice(job: Job) -> None:
    """A second training beside a running one is refused; beside a killed one it goes on."""
    world = World(job.scratch)
    whole = uninterrupted(world, TWO)
    for number, chance in job.cases():
        with world.case() as folder:
            setup = _planted(job, world, folder)
            first = Child(words(TWO), folder, setup)
            begun(first)
            first.ended(chance.uniform(0, whole.seconds / 4))
            second = (*words(TWO), *((AGAIN,) if chance.randrange(3) else ()))
            found = _not_refused(second, folder, setup)
            killed = bool(chance.randrange(2))
            if killed:
                first.send(signal.SIGKILL)
                first.wait()
                found += resumed(folder, setup, whole, TWO)
            else:
                done = first.wait(120, to_the_end=True)
                found += differences(trained(folder / "out"), whole) if done.code == 0 else [f"the first: {done.err}"]
        outcome = "the first was killed, the next went on" if killed else "refused, the first unchanged"
        job.keep(number, f"memstack {shlex.join(second)} beside a running one", outcome, found)


def _not_refused(command: tuple[str, ...], folder: Path, setup: Setup) -> list[str]:
    done = probe(command, folder, setup)
    if done.code == 2:
        return refusal_faults(done.err)
    came = "goes on" if done.code is None else f"ends with {done.code}"
    return [f"a second training beside a running one is not refused, it {came}: {done.err.strip()[-200:]}"]


def _planted(job: Job, world: World, folder: Path) -> Setup:
    return both(world.setup(folder), job.plant)


CHECKS = (
    Check(
        "kill",
        "training",
        "SIGKILL at a random moment, as a file of the run is opened or renamed, or while a checkpoint is written; up "
        "to three times, now and then with a torn line in the log; then `--resume`: losses and weights are those of an "
        "uninterrupted run, to the bit",
        "trainings",
        5,
        50,
        kill_training,
        4,
    ),
    Check(
        "kill",
        "signals",
        "SIGINT and SIGTERM at a random moment, once or twice: exit status 130 or 143, the step reached is saved, the "
        "command to go on is printed, and it goes on to the same losses",
        "trainings",
        3,
        50,
        interrupt_training,
        4,
    ),
    Check(
        "kill",
        "two-at-once",
        "A second training in the folder of a running one is refused in one line and changes nothing; after a SIGKILL "
        "of the first it goes on",
        "pairs",
        1,
        20,
        train_twice,
        3,
    ),
)
