"""eval and compare over ranks: the numbers, tables and files are those of one process, and errors are told once."""

import io
import json
import math
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.command_line import Run
from helpers.rank_runs import torchrun
from helpers.ranks import on_ranks
from helpers.small_checkpoint import write_checkpoint
from memstack_models.cli import evaluating, over_ranks
from memstack_models.evaluation.comparison import Comparison, memory_of
from memstack_models.training.perplexity import evaluate
from memstack_models.training.ranks import OtherRankError, Ranks

from memstack import MemstackError
from memstack.cli import console, logged_progress
from memstack.cli import main as cli

WIDTH = 120
NEAR = 1e-6
UNEVEN = "eval.documents=3", "eval.rows=3"
"""Two ranks have one and two rows then."""
HNSW = "hnsw,m=4,ef_search=8,exact_below=16"


@pytest.fixture
def run(tmp_path: Path, memstack: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with a memory, and how wide what is printed may be."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    return write_checkpoint(tmp_path, *UNEVEN)


def told(rank: int, ranks: int, folder: str, *commands: tuple[object, ...]) -> list[tuple[int, str, str]]:
    """What a rank's command lines do, one after another: exit code, output and errors."""
    os.chdir(folder)
    return [_told(rank, ranks, *map(str, command)) for command in commands]


def _told(rank: int, ranks: int, *command: str) -> tuple[int, str, str]:
    @contextmanager
    def as_joined() -> Generator[Ranks, None, None]:
        yield Ranks(rank, ranks)

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(over_ranks, "joined", as_joined)
        patch.setattr(over_ranks, "A_MOMENT", 0.0)
        patch.setattr(logged_progress, "EVERY_S", math.inf)
        for each in (console.OUT, console.ERR):
            patch.setattr(each, "width", WIDTH)
            patch.setattr(each, "quiet", False)
        patch.setattr("sys.argv", ["memstack", *command])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    return int(stopped.value.code or 0), out.getvalue(), err.getvalue()


def ensure_near(one: Any, other: Any, left_out: frozenset[str] = frozenset()) -> None:
    """Two records are alike, but for the order in which numbers were added; of losses four digits are kept."""
    if isinstance(one, dict):
        assert list(one) == list(other)
        for name in one.keys() - left_out:
            ensure_near(one[name], other[name], left_out)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            ensure_near(*pair, left_out)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=NEAR, abs=1.1e-4)
    else:
        assert one == other


def record(path: str) -> dict[str, Any]:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def test_eval_started_by_torchrun_prints_and_writes_what_one_process_does(
    memstack: Run, run: Path, tmp_path: Path
) -> None:
    opponent = write_checkpoint(tmp_path / "other", "model.memory_layers=[]", f"data.corpus={tmp_path / 'corpus'}")
    command = "eval", str(run), "--opponent", str(opponent)
    code, out, err = memstack(*command, "--json", "one.json", "--losses", "one.npz")
    assert code == 0, err
    done = torchrun(2, "-m", "memstack", *command, "--json", "two.json", "--losses", "two.npz")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == out
    ensure_near(record("two.json"), record("one.json"))
    with np.load("two.npz") as losses, np.load("one.npz") as expected:
        assert losses.files == expected.files
        assert len(losses["names"]) == 3
        for name in losses.files:
            if name in ("names", "document", "position", "token"):
                np.testing.assert_array_equal(losses[name], expected[name])
            else:
                np.testing.assert_allclose(losses[name], expected[name], rtol=0, atol=NEAR)


def test_compare_over_ranks_finds_what_one_process_finds(memstack: Run, run: Path, tmp_path: Path) -> None:
    """Of one checkpoint its memories, and several runs. Times are those of the slowest rank; one rank tells."""
    other = write_checkpoint(
        tmp_path / "other", "model.memory_layers=[]", *UNEVEN, f"data.corpus={tmp_path / 'corpus'}"
    )
    memories = "compare", run, "-b", HNSW, "--capacity", 64, "--json"
    runs = "compare", run, other, "--format", "csv", "--json"
    assert memstack(*memories, "one.json")[0] == 0
    code, out, _ = memstack(*runs, "runs.json")
    assert code == 0
    alone, others = on_ranks(2, told, 2, str(tmp_path), (*memories, "-"), (*runs, "two.json"))
    assert others == [(0, "", "")] * 2
    (code, printed, err), (runs_code, table, _) = alone
    assert (code, runs_code) == (0, 0), err
    found = json.loads(printed)
    ensure_near(found, record("one.json"), frozenset({"ms"}))
    assert list(found["memories"]) == ["none", "exact/64", f"{HNSW}/64"]
    assert 0 < found["memories"][f"{HNSW}/64"]["recall"] <= 1
    assert all(each["ms"]["search"] > 0 for name, each in found["memories"].items() if name != "none")
    assert table == out
    ensure_near(record("two.json"), record("runs.json"))


def test_a_mistake_is_told_once(run: Path, tmp_path: Path) -> None:
    mistakes = [
        (("eval", "no-such-run"), "no-such-run"),
        (("eval", run, "--set", "memory.shards=3"), "2 ranks make no groups of memory.shards = 3"),
        (("eval", run, "--plot", "picture.gif"), "picture.gif"),
        (("compare", run, "-b", "hnws"), "did you mean 'hnsw'?"),
        (("compare", run, run), "is named more than once"),
        (("compare", run, "--format", "csv", "--json", "-"), "both want standard output"),
    ]
    first, second = on_ranks(2, told, 2, str(tmp_path), *(command for command, _ in mistakes))
    for (code, out, err), (_, message) in zip(first, mistakes, strict=True):
        assert (code, out) == (2, "")
        assert message in err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    assert second == [(2, "", "")] * len(mistakes)


def compared(rank: int, ranks: int, folder: str, settings: tuple[str, ...]) -> dict[str, Any]:
    comparison = Comparison(Path(folder), settings, ranks=Ranks(rank, ranks))
    return comparison.evaluate(memory_of(HNSW, 64, 4)).model_dump(exclude={"ms"})


def test_a_rank_without_a_document_changes_nothing(run: Path) -> None:
    settings = "eval.documents=2", "eval.rows=2"
    first, *others = on_ranks(3, compared, 3, str(run), settings)
    expected = Comparison(run, settings).evaluate(memory_of(HNSW, 64, 4)).model_dump(exclude={"ms"})
    ensure_near(first, expected)
    for other in others:
        assert other["perplexity"] == first["perplexity"]
        assert other["segments"] is None


def failing(rank: int, folder: str, by: Callable[..., Any]) -> tuple[str, str]:
    def evaluate_or_fail(*arguments: Any, **more: Any) -> Any:
        if rank == 1:
            raise OSError("the disk has gone")
        return evaluate(*arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memstack_models.cli.work.evaluate", evaluate_or_fail)
        patch.setattr("memstack_models.evaluation.comparison.evaluate", evaluate_or_fail)
        with pytest.raises(OtherRankError) as caught:
            by(folder, Ranks(rank, 2))
    return str(caught.value), type(caught.value.__cause__).__name__


def eval_it(folder: str, ranks: Ranks) -> None:
    evaluating.evaluate_run(folder, [], None, None, ranks)


def compare_it(folder: str, ranks: Ranks) -> None:
    Comparison(Path(folder), ranks=ranks).evaluate(None)


@pytest.mark.parametrize("by", [eval_it, compare_it])
def test_what_fails_on_one_rank_ends_all(run: Path, by: Callable[..., Any]) -> None:
    first, second = on_ranks(2, failing, str(run), by)
    assert first == ("rank 1: OSError: the disk has gone", "NoneType")
    assert second == ("rank 1: OSError: the disk has gone", "OSError")


def other_documents(rank: int, folder: str) -> str:
    comparison = Comparison(Path(folder), ranks=Ranks(rank, 2))
    comparison.documents = comparison.documents[rank:]
    with pytest.raises(MemstackError) as caught:
        comparison.evaluate(None)
    return str(caught.value)


def test_other_documents_on_another_rank_are_refused(run: Path) -> None:
    assert set(on_ranks(2, other_documents, str(run))) == {
        "rank 1 has other documents than rank 0: give every machine the same"
    }


def on_shards(rank: int, folder: str) -> list[dict[str, Any]]:
    """Of two groups of two ranks; and of other memories, which lie on one rank each."""
    comparison = Comparison(Path(folder), ["memory.shards=2"], ranks=Ranks(rank, 4))
    memories = comparison.run.memory, memory_of(HNSW, 64, 4), None
    return [comparison.evaluate(memory).model_dump(exclude={"ms"}) for memory in memories]


def test_groups_of_ranks_read_documents_with_a_memory_between_them(run: Path) -> None:
    first, *_ = on_ranks(4, on_shards, str(run))
    alone = Comparison(run)
    memories = alone.run.memory, memory_of(HNSW, 64, 4), None
    ensure_near(first, [alone.evaluate(memory).model_dump(exclude={"ms"}) for memory in memories])


def gathered(rank: int) -> list[list[int]]:
    return [part.tolist() for part in Ranks(rank, 3).gathered(torch.arange(rank * 2, dtype=torch.int64))]


def test_tensors_of_all_lengths_are_gathered_on_the_first_rank() -> None:
    assert on_ranks(3, gathered) == [[[], [0, 1], [0, 1, 2, 3]], [], []]
    assert [part.tolist() for part in Ranks().gathered(torch.zeros(2))] == [[0, 0]]
