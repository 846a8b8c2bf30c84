"""Commands in odd surroundings, each in a process of its own from Python's start to its end."""

import itertools
import shlex
import subprocess

from campaign import real
from campaign.around import SURROUNDINGS
from campaign.jobs import Check, Job
from campaign.judging import faults, outcome
from campaign.runs import words
from campaign.sandbox import World

COMMANDS = (words(2), ("eval", "run"), ("backends",), ("check", "exact", "--quick"))


def surround(job: Job) -> None:
    """Every surrounding with every command; the first commands first."""
    world = World(job.scratch)
    for path in (world.scratch, world.template):
        path.chmod(0o755)
    trials = [(around, command) for command, around in itertools.product(COMMANDS, SURROUNDINGS)]
    for number, _ in job.cases(min(job.count, len(trials))):
        around, command = trials[number]
        with world.case() as folder:
            try:
                done = real.run(command, folder, around.make(folder))
            except subprocess.SubprocessError as error:
                job.skip(f"{around.name}: this system does not allow it ({error})")
                continue
        found = [f"{around.name}: {each}" for each in faults(done)]
        if around.works and done.code not in (0, None) and not found:
            found.append(f"{around.name}: refused, and need not be: {done.err.strip()[-300:]}")
        job.keep(number, f"memstack {shlex.join(command)}, {around.name}", outcome(done), found)


CHECKS = (
    Check(
        "surroundings",
        "commands",
        "No home, no name, no cache, no or a bad compiler, ASCII, broken metadata of other packages, small limits, "
        "other defaults of torch: commands work, or refuse in one clear line what they cannot",
        "commands",
        1,
        len(SURROUNDINGS) * len(COMMANDS),
        surround,
        10,
    ),
)
