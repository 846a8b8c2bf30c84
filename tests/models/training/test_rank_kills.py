"""SIGKILL of a rank: torchrun starts all of them again, and the losses are those of an uninterrupted run."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.command_line import settings
from helpers.rank_runs import torchrun
from helpers.small_corpus import write_corpus
from helpers.small_run import losses
from memstack_models.training import checkpoint, run_folder

RANKS, SLOWEST = 2, 120.0


def command(folder: Path, steps: int) -> list[str]:
    """A training that goes on if it is begun; ``folder`` has its corpus."""
    chosen = ["segment=32", "log_every=1", "checkpoint_every=2", "validate_every=0", f"steps={steps}"]
    data = [f"data.corpus={folder / 'corpus'}", "data.tokenizer=bytes", "memory.capacity=96", "model.dim=32"]
    return ["-m", "memstack", "train", "tiny", "--resume", *settings(*data, *(f"train.{each}" for each in chosen))]


def workers(agent: int) -> set[int]:
    """The processes that torchrun has started."""
    found: set[int] = set()
    for task in Path(f"/proc/{agent}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has ended since
            found.update(map(int, (task / "children").read_text().split()))
    return found


def wait_for(what: Callable[[], object], agent: subprocess.Popen[str]) -> bool:
    """Wait until something is so; False if the training ends before."""
    end = time.monotonic() + SLOWEST
    while not what():
        if agent.poll() is not None:
            return False
        assert time.monotonic() < end, "the training stands still"
        time.sleep(0.001)
    return True


def kill_one(agent: subprocess.Popen[str], run: Path, chance: random.Random, *, saving: bool) -> bool:
    """Kill a rank once all have logged a step, some time after, or while they save; False if they are done before."""
    log, aside = run / run_folder.LOG, run / checkpoint.WRITING
    seen = log.stat().st_size if log.exists() else 0
    if not wait_for(lambda: log.exists() and log.stat().st_size > seen, agent):
        return False
    if saving and not wait_for(aside.exists, agent):
        return False
    time.sleep(chance.uniform(0, 0.002 if saving else 0.2))
    former = workers(agent.pid)
    if len(former) < RANKS:
        return False
    os.kill(chance.choice(sorted(former)), signal.SIGKILL)
    return wait_for(lambda: len(workers(agent.pid) - former) == RANKS, agent)


@pytest.mark.parametrize(("kills", "steps"), [(2, 60), pytest.param(20, 200, marks=pytest.mark.long)])
def test_killed_ranks_go_on_to_the_same_losses(
    tmp_path: Path, kills: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to do anything; every second one is killed while the checkpoint is written."""
    write_corpus(tmp_path / "corpus", documents=5, words=400)
    given = command(tmp_path, steps)
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path / "cache"))
    whole = torchrun(RANKS, *given, "--out", str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    start = ["--standalone", "--nproc-per-node", str(RANKS), "--max-restarts", str(kills)]
    line = [sys.executable, "-m", "torch.distributed.run", *start, *given, "--out", str(tmp_path / "cut")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (
        (tmp_path / "told").open("w") as told,
        subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=told, env=environment, text=True) as agent,
    ):
        chance = random.Random(kills)
        try:
            done = [kill_one(agent, tmp_path / "cut", chance, saving=bool(i % 2)) for i in range(kills)]
            assert agent.wait(SLOWEST) == 0, (tmp_path / "told").read_text()
        finally:
            agent.terminate()
    assert sum(done) == kills
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
