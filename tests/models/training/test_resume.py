"""A killed run resumes with the losses of an uninterrupted one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.small_corpus import write_corpus
from helpers.small_run import RSQRT, config, losses, train_until, trainer
from memstack_models.training import run_folder

from memstack.plugins.config import MemoryConfig


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize(
    "settings", [{}, {"optimizer": "adafactor"} | RSQRT, {"precision": "bfloat16"}], ids=["adamw", "adafactor", "bf16"]
)
def test_a_resumed_run_is_the_uninterrupted_run(tmp_path: Path, settings: dict[str, object], accumulation: int) -> None:
    """Losses and final weights agree to the bit, with dropout, cache, memory and readers in mid-document."""
    run = config(accumulation=accumulation, **settings)
    whole = trainer(tmp_path / "whole", run)
    whole.train()

    train_until(trainer(tmp_path / "cut", run), step=7)  # its last checkpoint is of step 4
    torch.manual_seed(999)
    second = trainer(tmp_path / "cut", run)
    second.resume()
    assert second.step == 4
    second.train()
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, second.model.state_dict()[name]), name


def test_an_approximate_index_resumes_with_nearly_the_same_losses(tmp_path: Path) -> None:
    """Its graph is built again from the same data, and may find other neighbours here and there."""
    run = config().model_copy(update={"memory": MemoryConfig(backend="hnsw", capacity=48, neighbours=4)})
    trainer(tmp_path / "whole", run).train()
    train_until(trainer(tmp_path / "cut", run), step=7)
    second = trainer(tmp_path / "cut", run)
    second.resume()
    second.train()
    assert losses(tmp_path / "cut") == pytest.approx(losses(tmp_path / "whole"), abs=0.05)


@pytest.mark.parametrize(
    "written", [[], ["tokenizer.json"], ["tokenizer.json", "tokenizer.sha256"], ["config.toml.writing"]]
)
def test_a_run_killed_while_its_folder_is_made_can_be_started_again(tmp_path: Path, written: list[str]) -> None:
    for name in written:
        (tmp_path / name).write_text("cut of")
    assert not run_folder.is_begun(tmp_path)
    trainer(tmp_path, config()).train()
    assert len(losses(tmp_path)) == 12


@pytest.mark.long
def test_a_run_killed_at_arbitrary_points_has_the_uninterrupted_losses(tmp_path: Path) -> None:
    """SIGKILL, wherever it falls: before the first checkpoint, within a step, within a write. Then --resume."""
    settings = {
        "data.corpus": write_corpus(tmp_path / "corpus", documents=5, words=400),
        "data.tokenizer": "bytes",
        "train.steps": 120,
        "train.segment": 32,
        "train.checkpoint_every": 3,
        "train.log_every": 1,
    }
    arguments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]

    def start(folder: str, *more: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "memstack",
            "train",
            "tiny",
            "--out",
            str(tmp_path / folder),
            *arguments,
            *more,
        ]
        environment = os.environ | {"MEMSTACK_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    assert start("whole").wait() == 0
    dice = random.Random(0)
    kills = 0
    for _ in range(2):
        run = start("cut", "--resume")
        log = tmp_path / "cut" / run_folder.LOG
        seen = log.stat().st_size if log.exists() else 0
        # Starting takes seconds: the time that counts runs from the first new log line, or from the folder's making.
        while run.poll() is None and not (log.exists() and log.stat().st_size > seen):
            time.sleep(0.01)
        time.sleep(dice.uniform(0, 0.5))
        if run.poll() is None:
            run.send_signal(signal.SIGKILL)
            kills += 1
        run.wait()
    assert kills
    assert start("cut", "--resume").wait() == 0
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
