"""A run whose memories lie on several ranks, which all run alike, learns what a run in one process learns."""

import tempfile
from pathlib import Path

import pytest
from helpers.ranks import on_ranks
from helpers.small_run import config, losses, trainer
from memstack_models.training.config import RunConfig

from memstack import ShardError


def over(shards: int) -> RunConfig:
    run = config(steps=12)
    return run.model_copy(update={"memory": run.memory.model_copy(update={"shards": shards})})


def train(_: int, shards: int) -> list[float]:
    """The losses of a rank's run, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        run = trainer(Path(folder) / "run", over(shards))
        run.train()
        return losses(Path(folder) / "run")


def test_two_ranks_learn_what_one_process_learns(tmp_path: Path) -> None:
    alone = trainer(tmp_path / "run", over(1))
    alone.train()
    first, second = on_ranks(2, train, 2)
    assert first == second
    assert first == pytest.approx(losses(tmp_path / "run"), abs=2e-4)
    assert len(first) == 12


def test_one_process_is_refused_shards(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"memory\.shards=2 needs as many processes"):
        trainer(tmp_path / "run", over(2))
