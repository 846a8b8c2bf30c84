"""Full disks, read-only ones, files that may not grow, and standard output that is closed or full."""

import itertools
import json
import os
import random
import re
import resource
import shlex
from pathlib import Path

from campaign import mounts, real
from campaign.forked import Done, Setup, both
from campaign.jobs import Check, Job
from campaign.judging import faults, outcome
from campaign.runs import Trained, resumed, to_the_end, trained, uninterrupted, words
from campaign.sandbox import World, caps, changes, snapshot

DISK = 4 << 20
TRAIN = words(6)
COMMANDS = (
    TRAIN,
    TRAIN,
    ("eval", "run", "--json", "out.json"),
    ("export", "run", "exported"),
    ("new-backend", "my-index", "new"),
    ("compare", "run", "-b", "exact", "--capacity", "64", "--json", "out.json"),
    ("backends", "--json", "out.json"),
)
ATOMIC = ("exported", "new", "out.json")
"""What is there whole or not at all."""
NAMED = re.compile(r"checkpoint-|log\.jsonl|config\.toml|tokenizer|out\.json|exported|new\b|cache|\bout\b|/work|/tmp")


def fill_disk(job: Job) -> None:
    """The disk has room for so many bytes more: what needs more is refused by name, and goes on once there is room."""
    _with_little_room(job, on_a_small_disk=True)


def limit_files(job: Job) -> None:
    """No file may become longer than so many bytes."""
    _with_little_room(job, on_a_small_disk=False)


def _with_little_room(job: Job, *, on_a_small_disk: bool) -> None:
    disk = job.scratch / "disk"
    disk.mkdir()
    if reason := (mounts.enter() or mounts.small(disk, DISK)) if on_a_small_disk else "":
        return job.skip(reason, job.count)
    world = World(job.scratch, disk)
    whole = uninterrupted(world, 6)
    for number, chance in job.cases():
        with world.case() as folder:
            command, room = chance.choice(COMMANDS), _room(chance)
            setup = both(world.setup(folder), job.plant)
            within = _filled(folder.parent / "filler", room, chance) if on_a_small_disk else _limited(max(room, 8192))
            before = snapshot(folder)
            done = to_the_end(command, folder, both(setup, within))
            (folder.parent / "filler").unlink(missing_ok=True)
            found = _judged(done, changes(before, snapshot(folder)), folder)
            if command == TRAIN and not found:
                found = _goes_on(folder, setup, whole)
        job.keep(number, f"memstack {shlex.join(command)}, room for {room} bytes", outcome(done), found)
    return mounts.unmount(disk)


def _room(chance: random.Random) -> int:
    """From nothing to more than a command needs, small rooms as often as large ones."""
    return chance.choice((0, 0, 4096 * chance.randint(1, 20), int(2 ** chance.uniform(12, 20))))


def _filled(filler: Path, room: int, chance: random.Random) -> Setup:
    """Fill the disk but for so many bytes; the cache is on it, too, now and then."""
    free = os.statvfs(filler.parent)
    filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - room)))
    if chance.randrange(3):
        return lambda: None
    return lambda: os.environ.__setitem__("MEMSTACK_CACHE", str(filler.parent / "work" / "cache"))


def _limited(size: int) -> Setup:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _judged(done: Done, changed: list[str], folder: Path) -> list[str]:
    """Return what is wrong: words, names, what was there before, and what is there in part."""
    found = faults(done)
    refused = done.code not in (0, None)
    if refused and not found and not NAMED.search(done.err):
        found.append(f"no file is named: {done.err.strip()[:300]}")
    found += [f"what was there is not whole: {each}" for each in changed if not each.startswith("new: ")]
    found += [f"left in part: {each}" for each in changed if "writing" in each or "/.memstack" in each]
    if refused:
        found += [
            f"refused, and yet there: {name} ({done.err.strip()[:200]})"
            for name in ATOMIC
            if (folder / name).exists() and not _is_record(folder / name)
        ]
    return found


def _is_record(path: Path) -> bool:
    """True for a record that is whole: ``compare`` keeps one after each memory, with what it has measured so far."""
    try:
        return "kind" in json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False


def _goes_on(folder: Path, setup: Setup, whole: Trained) -> list[str]:
    """Once there is room, the training is begun or resumed, and ends as an uninterrupted one."""
    return [f"once there is room: {each}" for each in resumed(folder, setup, whole, 6)]


def read_only(job: Job) -> None:
    """A folder cannot be written: the one a command writes to, the cache, or that of temporary files."""
    if reason := mounts.enter():
        return job.skip(reason, job.count)
    world = World(job.scratch)
    trials = list(itertools.product(("work", "cache", "tmp"), sorted(set(COMMANDS))))
    for number, _ in job.cases(min(job.count, len(trials))):
        where, command = trials[number]
        with world.case() as folder:
            closed = world.cache if where == "cache" else folder.parent / where
            if reason := mounts.read_only(closed):
                return job.skip(reason, job.count)
            try:
                before = snapshot(folder)
                done = to_the_end(command, folder, both(world.setup(folder), job.plant))
                found = _judged(done, changes(before, snapshot(folder)), folder)
            finally:
                mounts.unmount(closed)
        if where == "work" and done.code == 0:
            found.append("nothing could be written, and nothing was said")
        job.keep(number, f"memstack {shlex.join(command)}, {where} is read-only", outcome(done), found)
    return None


def lose_output(job: Job) -> None:
    """Standard output is full, closed, or a pipe that nobody reads."""
    world = World(job.scratch)
    lines = (*sorted(set(COMMANDS)), ("--help",), ("--version",), ("corpora",), ("eval", "run", *caps()))
    trials = list(itertools.product(("/dev/full", "closed", "unread"), lines))
    trials.sort(key=lambda trial: trial[1] != TRAIN)  # a training of days is what may be lost
    for number, _ in job.cases(min(job.count, len(trials))):
        how, command = trials[number]
        with world.case() as folder:
            done = real.run(command, folder, _output(how))
            found = [f"standard output is {how}: {each}" for each in faults(done)]
            found += [f"standard output is {how}: exit status {done.code} without a word"] * _is_silent(done)
            if command == TRAIN and not _is_trained(folder):
                found.append(f"standard output is {how}: the training ended before its end: {done.err.strip()[-200:]}")
        job.keep(number, f"memstack {shlex.join(command)}, standard output {how}", outcome(done), found)


def _output(how: str) -> real.Around:
    if how == "/dev/full":
        return real.Around(stdout=how)
    if how == "closed":
        return real.Around(before=lambda: os.close(1))
    return real.Around(before=_unread)


def _unread() -> None:
    """Make standard output a pipe whose reader is gone."""
    reading, writing = os.pipe()
    os.dup2(writing, 1)
    os.close(reading)
    os.close(writing)


def _is_silent(done: Done) -> bool:
    return done.code not in (0, None) and not done.err.strip()


def _is_trained(folder: Path) -> bool:
    return any((folder / "out").glob("checkpoint-*")) and trained(folder / "out").losses[-1][0] == 6


CHECKS = (
    Check(
        "disks",
        "full",
        "A disk with room for some bytes, now and then with the cache on it: one clear line that names a file, nothing "
        "torn, what was there stays whole, and a training goes on to the same losses once there is room",
        "commands",
        10,
        150,
        fill_disk,
        4,
    ),
    Check("disks", "file-size", "Files may not grow beyond some bytes: the same", "commands", 4, 100, limit_files, 3),
    Check(
        "disks",
        "read-only",
        "The folder, the cache or the folder of temporary files is mounted read-only: the same, or done without",
        "commands",
        18,
        18,
        read_only,
        1,
    ),
    Check(
        "disks",
        "output",
        "Standard output is full, closed or unread: no traceback, no silent failure, and a training goes on to its end",
        "commands",
        1,
        30,
        lose_output,
        3,
    ),
)
