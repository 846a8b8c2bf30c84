"""A run whose memories lie on several ranks, which all run alike, learns what a run in one process learns."""

import tempfile
from pathlib import Path

import pytest
from helpers.ranks import on_ranks
from helpers.small_run import config, losses, trainer
from memstack_models.training.config import RunConfig
from memstack_models.training.ranks import Ranks
from memstack_models.training.trainer import check_run

from memstack import ConfigError, ShardError


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


def test_ranks_with_rows_of_their_own_are_refused_shards() -> None:
    run = over(2)
    with pytest.raises(ConfigError, match=r"memory\.shards = 2 is for ranks that all read the same rows"):
        check_run(run, 256, run.memory, Ranks(0, 2))


def test_one_process_is_refused_shards(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"memory\.shards=2 needs as many processes"):
        trainer(tmp_path / "run", over(2))
