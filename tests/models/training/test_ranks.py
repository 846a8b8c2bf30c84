"""Training over ranks: the losses are those of one process, and a checkpoint of some is gone on from by others."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.rank_runs import Job, losses_of, torchrun, train_over
from memstack_models.training import checkpoint
from memstack_models.training import ranks as ranks_module

SAVED, END = 20, 40
FIRST, ALL = 1e-6, {"ddp": 2e-4, "fsdp": 1e-3}
"""How far the losses of the first three steps may be from those of one process, and those of all, by way."""
RESUMED = 1e-4
"""And those after a resume by another number of ranks."""
WAYS = ("ddp", "fsdp")


def furthest(losses: dict[int, float], expected: dict[int, float]) -> float:
    assert losses.keys() <= expected.keys()
    return max(abs(loss - expected[step]) for step, loss in losses.items())


def whole(folder: Path, ranks: int) -> list[Job]:
    """Trainings from the first step on, in both ways, each with its checkpoint of the middle left."""
    return [
        Job(str(folder / f"{way}{ranks}"), END, {"parallel": way}, save_at=SAVED)
        for way in (WAYS if ranks > 1 else WAYS[:1])
    ]


def going_on(folder: Path, ranks: int, by: int) -> list[Job]:
    """And these gone on with from there, by so many ranks."""
    return [Job(f"{job.folder} by {by}", END, job.train, source=job.folder) for job in whole(folder, ranks)]


@pytest.mark.parametrize("ranks", [2, 4])
def test_losses_over_ranks_are_those_of_one_process(tmp_path: Path, ranks: int) -> None:
    """With memories that fill and evict; saved and resumed by as many ranks they are the same to the bit."""
    jobs = whole(tmp_path, ranks)
    train_over(1, whole(tmp_path, 1))
    train_over(ranks, [*jobs, *going_on(tmp_path, ranks, ranks), *going_on(tmp_path, 1, ranks)])
    train_over(1, going_on(tmp_path, ranks, 1))
    one = losses_of(tmp_path / "ddp1")
    for job in jobs:
        losses = losses_of(Path(job.folder))
        assert list(losses) == list(range(1, END + 1))
        assert furthest({step: losses[step] for step in (1, 2, 3)}, one) < FIRST
        assert furthest(losses, one) < ALL[job.train["parallel"]]
        again = losses_of(Path(f"{job.folder} by {ranks}"))
        assert again == {step: losses[step] for step in range(SAVED + 1, END + 1)}
        assert furthest(losses_of(Path(f"{job.folder} by 1")), losses) < RESUMED
        saved = checkpoint.newest(Path(job.folder))
        assert saved is not None
        files = {f"rank-{i}.safetensors" for i in range(ranks)}
        assert {path.name for path in saved.iterdir()} == {"manifest.json", *files}
    assert furthest(losses_of(tmp_path / f"ddp1 by {ranks}"), one) < RESUMED


@pytest.mark.long
def test_a_checkpoint_of_any_number_of_ranks_is_gone_on_from_by_any_other(tmp_path: Path) -> None:
    """All nine pairs of 1, 2 and 4, in both ways: to the bit by as many, else nearly."""
    numbers = (1, 2, 4)
    for ranks in numbers:
        train_over(ranks, whole(tmp_path, ranks))
    for by in numbers:
        train_over(by, [job for ranks in numbers for job in going_on(tmp_path, ranks, by)])
    for ranks in numbers:
        for job in whole(tmp_path, ranks):
            losses = losses_of(Path(job.folder))
            for by in numbers:
                again = losses_of(Path(f"{job.folder} by {by}"))
                assert list(again) == list(range(SAVED + 1, END + 1))
                assert furthest(again, losses) <= (0 if by == ranks else RESUMED), (job.folder, by)


def refused(*command: str, ranks: int = 2) -> list[str]:
    """What a command of so many processes says that is refused; of tracebacks there is but torchrun's own."""
    done = torchrun(ranks, "-m", "memstack", *command)
    assert done.returncode
    assert done.stderr.count("Traceback (") == 1
    return [line for line in done.stderr.splitlines() if line.startswith("error:")]


def test_nothing_is_imported_of_it_until_it_is_used() -> None:
    """Neither what joins processes, which torch itself imports in part, nor what shares a model among them."""
    program = (
        "import sys, memstack_models.cli.work, memstack_models.cli.train, memstack_models.cli.evaluating\n"
        "heavy = 'torch.distributed.fsdp', 'torch.distributed.tensor', 'torch.distributed.checkpoint'\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    sources = Path(ranks_module.__file__).parents[1].rglob("*.py")
    eager = [path.name for path in sources if re.search(r"^(import|from) torch\.distributed", path.read_text(), re.M)]
    assert eager == []


def test_what_cannot_be_trained_over_ranks_is_one_line(tmp_path: Path) -> None:
    (line,) = refused("train", "tiny", "--out", str(tmp_path / "run"), ranks=3)
    assert "4 rows cannot be dealt to 3 ranks alike: set train.rows to a multiple of 3" in line
    assert not (tmp_path / "run").exists()
