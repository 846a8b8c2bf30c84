"""``memstack check NAME --thorough`` of every backend that is installed, in a process each."""

import json
from pathlib import Path
from typing import Any

from campaign import real
from campaign.jobs import Check, Job
from campaign.judging import faults
from memstack.plugins.registry import registry

HOUR = 3600.0


def check_thoroughly(job: Job) -> None:
    """Have each backend tried at random beside the oracle."""
    names = [spec.name for spec in registry().specs()]
    for number, name in enumerate(names):
        if missing := registry().spec(name).missing():
            job.skip(f"{name} needs {', '.join(missing)}")
        elif job.only in (None, number):
            _check(job, number, name)


def _check(job: Job, number: int, name: str) -> None:
    out = job.scratch / f"{name}.json"
    command = ("check", name, "--thorough", "--json", str(out), *_size(job))
    done = real.run(command, job.scratch, real.Around(), HOUR)
    if not out.is_file():
        job.keep(
            number, f"memstack {' '.join(command)}", "no record", faults(done) or [f"no record: {done.err[-300:]}"]
        )
        return
    for tried in json.loads(out.read_text(encoding="utf-8"))["tried"]:
        _keep(job, number, name, tried)


def _size(job: Job) -> tuple[str, ...]:
    """The options that say how much is tried."""
    return ("--seed", str(job.seed), "--attempts", str(job.count))


def _keep(job: Job, number: int, name: str, tried: dict[str, Any]) -> None:
    """One way of trying a memory: how often, and what differed."""
    what = f"{name}, {tried['name']}"
    if reason := tried.get("not_run"):
        job.skip(f"{what}: {reason}")
        return
    job.figures[what] = (
        f"{tried['done']:,} {tried['unit']}, {len(tried['findings'])} differences, {tried['seconds']:.0f} s"
    )
    job.keep(number, what, "as the oracle", [f"{what}: {each['what']}" for each in tried["findings"]])
    job.tried += tried["done"] - 1


def record_of(path: Path) -> dict[str, Any]:
    """Return what a thorough check wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


CHECKS: tuple[Check, ...] = ()
