"""``memstack check NAME --thorough`` of every backend that is installed, in a process each."""

import json
from collections.abc import Callable
from typing import Any

from campaign import real
from campaign.jobs import Check, Job
from campaign.judging import faults
from memstack.plugins.registry import registry

HOURS = 4 * 3600.0
BUNDLED = ("exact", "bucketed", "faiss-ivf", "hnsw", "jax", "scann")
OFTEN = ("hnsw",)
"""The backends that the short version tries: each takes the better part of a minute."""


def _of(name: str) -> Callable[[Job], None]:
    def check(job: Job) -> None:
        if missing := registry().spec(name).missing():
            job.skip(f"{name} needs {', '.join(missing)}")
        elif job.only in (None, 0):
            _check(job, 0, name)

    return check


def _check(job: Job, number: int, name: str) -> None:
    out = job.scratch / f"{name}.json"
    command = ("check", name, "--thorough", "--json", str(out), *_size(job))
    done = real.run(command, job.scratch, real.Around(), HOURS)
    if not out.is_file():
        job.keep(
            number, f"memstack {' '.join(command)}", "no record", faults(done) or [f"no record: {done.err[-300:]}"]
        )
        return
    for tried in json.loads(out.read_text(encoding="utf-8"))["tried"]:
        _keep(job, number, name, tried)


def _size(job: Job) -> tuple[str, ...]:
    """The options that say how much is tried."""
    return ("--seed", str(job.seed), "--operations", str(job.count))


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


CHECKS = tuple(
    Check(
        "thorough",
        name,
        f"`memstack check {name} --thorough`: random operations beside an oracle of plain lists, interrupts inside "
        "add, threads, forks, copies, kills",
        "attempts",
        60 if name in OFTEN else 0,
        100_000,
        _of(name),
        20,
    )
    for name in BUNDLED
)
