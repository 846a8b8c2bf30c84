"""``memstack compare RUN RUN ...``: a table over runs on one text, for people and for other programs."""

import csv
import io
import shutil
from pathlib import Path

import pytest
from helpers.command_line import Run, ensure_refused
from helpers.kept_checkpoints import kept_file
from helpers.small_checkpoint import write_checkpoint
from memstack_models.evaluation.records import ComparedRun, RunsRecord
from memstack_models.evaluation.runs import runs_table, stretch_titles


@pytest.fixture
def runs(tmp_path: Path, memstack: Run) -> list[str]:
    """One corpus; a run with a memory, one without, one with another tokeniser."""
    write_checkpoint(tmp_path).rename(tmp_path / "memory")
    for name, settings in {
        "nothing": ["model.memory_layers=[]", "model.cache=16"],
        "bpe": ["data.tokenizer=bpe", "data.vocab_size=300"],
    }.items():
        corpus = f"data.corpus={tmp_path / 'corpus'}"
        write_checkpoint(tmp_path / "made", *settings, corpus).rename(tmp_path / name)
        shutil.rmtree(tmp_path / "made")
    return ["memory", "nothing", "bpe"]


def test_runs_are_compared_on_the_text_of_the_first(memstack: Run, runs: list[str]) -> None:
    code, out, err = memstack("compare", *runs, "--json", "runs.json")
    assert code == 0, err
    found = RunsRecord.read(Path("runs.json")).runs
    assert list(found) == runs
    memory, nothing, bpe = found.values()
    assert (memory.memory, nothing.memory, memory.cache, nothing.cache) == ("exact/64", "none", 0, 16)
    assert memory.gain is None
    assert nothing.gain == pytest.approx(1 - nothing.perplexity / memory.perplexity)
    assert bpe.gain == pytest.approx(1 - bpe.bits_per_byte / memory.bits_per_byte)
    assert [each.same_tokens for each in found.values()] == [True, True, False]
    for each in found.values():
        assert f"{each.perplexity:.3f}" in out
    assert "note: bpe has another tokeniser than memory: its gain is one of bits per byte" in out
    assert memstack("eval", "nothing", "--json", "eval.json")[0] == 0


@pytest.mark.parametrize(("how", "begin"), [("csv", "run,"), ("markdown", "| run |"), ("latex", r"\begin{tabular}")])
def test_the_table_is_alone_on_standard_output_for_other_programs(
    memstack: Run, runs: list[str], how: str, begin: str
) -> None:
    code, out, err = memstack("compare", *runs, "--format", how)
    assert code == 0
    assert out.startswith(begin)
    assert "note: bpe" not in out
    assert "note: bpe" in err
    if how == "csv":
        titles, *lines = csv.reader(io.StringIO(out))
        assert titles[:4] == ["run", "memory", "cache", "trained"]
        assert [line[0] for line in lines] == runs
        assert {len(line) for line in lines} == {len(titles)}


def test_the_memories_of_one_run_can_be_had_as_csv(memstack: Run, runs: list[str]) -> None:
    code, out, err = memstack("compare", runs[0], "-b", "exact", "--capacity", "32", "--format", "csv")
    assert code == 0
    assert [line[0] for line in csv.reader(io.StringIO(out))] == ["backend/entries", "none", "exact/32"]
    assert "in units of exact's search" in err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["-b", "exact"], "choose the memories of one checkpoint, and several were named"),
        (["--capacity", "64"], "choose the memories of one checkpoint, and several were named"),
        (["memory"], "memory is named more than once"),
        (["nowhere"], "there is no run in nowhere"),
        (["--data", "nowhere"], "corpus 'nowhere' is no folder"),
        (["--format", "csv", "--json", "-"], "both want standard output"),
        (["--set", "eval.tokens=1"], "eval.tokens and train.validate_tokens should be 2 or more"),
    ],
)
def test_what_cannot_be_compared_is_one_line(memstack: Run, runs: list[str], given: list[str], message: str) -> None:
    ensure_refused(memstack("compare", *runs[:2], *given), message)


def test_a_run_that_cannot_be_read_is_noted_and_the_others_go_on(memstack: Run, runs: list[str]) -> None:
    path = kept_file(Path(runs[1]))
    path.write_bytes(path.read_bytes()[:-8])
    code, out, _ = memstack("compare", *runs, "--json", "runs.json")
    assert code == 1
    assert "nothing failed: CheckpointError" in out
    record = RunsRecord.read(Path("runs.json"))
    assert (list(record.runs), list(record.failures)) == (["memory", "bpe"], ["nothing"])


def compared(**by_position: float) -> ComparedRun:
    places = {name.replace("_", "-").removeprefix("p"): value for name, value in by_position.items()}
    return ComparedRun(
        perplexity=2.0,
        bits_per_byte=1.0,
        tokens=9,
        by_position=places,
        memory="none",
        cache=0,
        trained_tokens=1000,
        same_tokens=True,
    )


def test_stretches_that_end_in_several_places_stand_in_one_column() -> None:
    results = {"a": compared(p0_1k=3.0, p1k_2k=2.5), "[b]": compared(p0_1k=4.0, p1k_4k=3.5, p4k_6k=2.0)}
    assert list(stretch_titles([each.by_position for each in results.values()]).values()) == ["0-1k", "1k+", "4k-6k"]
    table = runs_table(results)
    assert [list(map(str, column.cells)) for column in table.columns][-3:] == [
        ["3.000", "4.000"],
        ["2.500", "3.500"],
        ["", "2.000"],
    ]
