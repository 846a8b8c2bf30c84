"""Runs whose memories lie on several ranks, all alike or in groups with rows each, learn what one process learns."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.rank_runs import Job, losses_of, train_over
from helpers.ranks import on_ranks
from helpers.small_run import config, losses, trainer
from memstack_models.training import checkpoint
from memstack_models.training.config import RunConfig
from memstack_models.training.ranks import Ranks
from memstack_models.training.trainer import check_run
from safetensors.torch import load_file

from memstack import ConfigError, ShardError

SAVED, END = 6, 12


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


def test_groups_of_ranks_have_rows_of_their_own_and_memories_between_them(tmp_path: Path) -> None:
    """Four ranks in two groups learn what one process learns, in both ways; saved and gone on with to the bit."""
    alone = Job(str(tmp_path / "alone"), to=END, save_at=SAVED)
    jobs = [replace(alone, folder=str(tmp_path / way), train={"parallel": way}, shards=2) for way in ("ddp", "fsdp")]
    goes_on = [replace(job, folder=f"{job.folder} again", save_at=0, source=job.folder) for job in jobs]
    train_over(1, [alone])
    other_number = [replace(alone, folder=f"{alone.folder} by shards", save_at=0, source=alone.folder, shards=4)]
    train_over(4, [*jobs, *goes_on, *other_number])
    train_over(1, [replace(goes_on[0], folder=f"{jobs[0].folder} by one", shards=1)])
    one = losses_of(tmp_path / "alone")
    for job, again in zip(jobs, goes_on, strict=True):
        learned = losses_of(Path(job.folder))
        assert list(learned) == list(range(1, END + 1))
        assert [learned[step] for step in (1, 2, 3)] == pytest.approx([one[step] for step in (1, 2, 3)], abs=1e-6)
        assert list(learned.values()) == pytest.approx(list(one.values()), abs=2e-4)
        assert losses_of(Path(again.folder)) == {step: learned[step] for step in range(SAVED + 1, END + 1)}
        saved = checkpoint.newest(Path(job.folder))
        assert saved is not None
        held = [{name for name in load_file(path) if name.startswith("row.")} for path in sorted(saved.glob("rank-*"))]
        assert [len(names) > 0 for names in held] == [True, False, True, False]
        assert {name.split(".")[1] for name in held[0]} == {"0", "1"}
    for name, source in (("alone by shards", one), ("ddp by one", losses_of(tmp_path / "ddp"))):
        later = {step: source[step] for step in range(SAVED + 1, END + 1)}
        assert losses_of(tmp_path / name) == pytest.approx(later, abs=1e-4)


def test_a_group_drops_out_what_one_process_does(tmp_path: Path) -> None:
    """All of its ranks draw the same numbers, also once they go on: otherwise their memories would mix two models."""
    alone = Job(str(tmp_path / "alone"), to=8, save_at=4, dropout=0.2)
    group = replace(alone, folder=str(tmp_path / "group"), shards=2)
    train_over(1, [alone])
    train_over(2, [group, replace(group, folder=f"{group.folder} again", save_at=0, source=group.folder)])
    one, learned = losses_of(tmp_path / "alone"), losses_of(tmp_path / "group")
    assert learned == pytest.approx(one, abs=1e-4)
    assert losses_of(tmp_path / "group again") == {step: learned[step] for step in range(5, 9)}


def test_ranks_that_make_no_groups_are_refused() -> None:
    run = over(2)
    with pytest.raises(ConfigError, match=r"3 ranks make no groups of memory\.shards = 2: start a multiple of 2 proc"):
        check_run(run, 256, run.memory, Ranks(0, 3))
    few = run.model_copy(update={"train": run.train.model_copy(update={"rows": 3})})
    with pytest.raises(ConfigError, match=r"3 rows cannot be dealt to 2 groups of 2 ranks \(memory\.shards\) alike"):
        check_run(few, 256, few.memory, Ranks(0, 4))
    check_run(run, 256, run.memory, Ranks(0, 4))


def shared_out(rank: int) -> tuple[list[slice], float, list[list[int]]]:
    ranks = Ranks(rank, 4).grouped(2)
    own = torch.arange(ranks.group + 1, dtype=torch.int64)
    return (
        [ranks.share(4), ranks.share(3)],
        ranks.sum(10 + ranks.group),
        [part.tolist() for part in ranks.gathered(own)],
    )


def test_a_group_counts_once() -> None:
    first, second, third, fourth = on_ranks(4, shared_out)
    assert (first[0], third[0]) == ([slice(0, 2), slice(0, 1)], [slice(2, 4), slice(1, 3)])
    assert (second[0], fourth[0]) == (first[0], third[0])
    assert [each[1] for each in (first, second, third, fourth)] == [21.0] * 4
    assert [each[2] for each in (first, second, third, fourth)] == [[[0], [0, 1]], [], [], []]


def test_one_process_is_refused_shards(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"memory\.shards=2 needs as many processes"):
        trainer(tmp_path / "run", over(2))
