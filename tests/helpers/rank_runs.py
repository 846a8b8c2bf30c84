"""Trainings over ranks, small enough for a test: one start of torchrun does several after another.

``train_over(2, jobs)`` starts this file as two processes, each of which does all ``jobs``; the losses lie in the
folders then.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from helpers.small_run import TINY, trainer
from memstack_models.training.config import RunConfig
from memstack_models.training.joining import joined
from memstack_models.training.ranks import ALONE, Ranks

LOSSES = "losses.json"
END = 240.0
"""Seconds within which a start ends."""


@dataclass(frozen=True)
class Job:
    """A training: in which folder, from where to where, and by which ``[train]``."""

    folder: str
    to: int = 40
    train: dict[str, Any] = field(default_factory=dict[str, Any])
    save_at: int = 0
    """A step after which its checkpoint is saved."""
    source: str = ""
    """A folder whose checkpoint is gone on from."""
    shards: int = 1
    """Ranks that hold a memory together."""
    dropout: float = 0.0
    """Its numbers are other ones on each rank, or group of ranks."""


def config(job: Job) -> RunConfig:
    """Of the tests' small run; memories fill and evict."""
    model, memory = TINY["model"] | {"dropout": job.dropout}, TINY["memory"] | {"shards": job.shards}
    train = TINY["train"] | {"steps": 40} | job.train
    return RunConfig.model_validate(TINY | {"model": model, "memory": memory, "train": train})


def work(job: Job, ranks: Ranks) -> None:
    """Do a job as one of the ranks."""
    run = trainer(Path(job.source or job.folder), config(job), ranks)
    if job.source:
        run.resume()
    losses: dict[int, float] = {}
    while run.step < job.to:
        step = run.advance()
        losses[step.step] = step.loss
        if run.step == job.save_at:
            run.save()
    if ranks.first:
        Path(job.folder).mkdir(exist_ok=True)
        (Path(job.folder) / LOSSES).write_text(json.dumps(losses), encoding="utf-8")


def losses_of(folder: Path) -> dict[int, float]:
    """What ``work`` has left: the loss of each step."""
    read = json.loads((folder / LOSSES).read_text(encoding="utf-8"))
    return {int(step): loss for step, loss in read.items()}


def torchrun(ranks: int, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Start so many processes of a Python command on this machine, with a thread each, and wait for them."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), *command]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    settings: dict[str, Any] = {"timeout": END, "check": False, "env": environment, "text": True}
    return subprocess.run(start, capture_output=True, **settings | options)


def train_over(ranks: int, jobs: list[Job]) -> None:
    """Do the jobs with so many ranks."""
    if ranks == 1:
        for job in jobs:
            work(job, ALONE)
        return
    given = json.dumps([asdict(job) for job in jobs])
    done = torchrun(ranks, "-m", "helpers.rank_runs", given, cwd=Path(__file__).parents[1])
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])


if __name__ == "__main__":
    with joined() as joined_ranks:
        for each in json.loads(sys.argv[1]):
            work(Job(**each), joined_ranks)
