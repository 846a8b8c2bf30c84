"""``memstack eval``: by position and by document, beside a fair opponent, drawn, and every loss in a file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command_line import Run, ensure_refused
from helpers.small_checkpoint import write_checkpoint
from memstack_models.evaluation.records import EvalRecord

from memstack.contract.metrics import perplexity

MEMORY = "exact/64"
BPE = "data.tokenizer=bpe", "data.vocab_size=300"


@pytest.fixture
def run(tmp_path: Path, memstack: Run) -> Path:
    """A run with a memory, which reads two documents of 200 tokens."""
    return write_checkpoint(tmp_path)


@pytest.fixture
def opponent(tmp_path: Path, run: Path) -> Path:
    """The same model on the same corpus, without a memory."""
    return write_checkpoint(tmp_path / "other", "model.memory_layers=[]", f"data.corpus={tmp_path / 'corpus'}")


def evaluated(memstack: Run, *arguments: object) -> tuple[EvalRecord, str]:
    code, out, err = memstack("eval", *arguments, "--json", "eval.json")
    assert code == 0, err
    return EvalRecord.read(Path("eval.json")), out


def test_every_document_has_its_line_and_they_add_up(memstack: Run, run: Path) -> None:
    record, out = evaluated(memstack, run)
    for read in record.memories.values():
        assert [each.tokens for each in read.by_document] == [199, 199]
        nats = sum(each.tokens * np.log(each.perplexity) for each in read.by_document)
        assert perplexity(nats, read.tokens) == pytest.approx(read.perplexity, rel=1e-6)
        for each in read.by_document:
            assert f"{each.perplexity:.3f}" in out
            assert each.name in out
    assert list(record.memories) == ["none", MEMORY]
    assert "perplexity by document" in out


def test_stretches_are_called_after_what_was_read(memstack: Run, run: Path) -> None:
    record, out = evaluated(memstack, run)
    assert list(record.memories["none"].by_position) == ["0-200"]
    assert "0-200" in out


def test_the_opponent_is_a_line_and_a_column(memstack: Run, run: Path, opponent: Path) -> None:
    record, out = evaluated(memstack, run, "--opponent", opponent, "--plot", "new/eval.svg")
    against = record.opponent
    assert against is not None
    assert (against.checkpoint, against.differs) == (str(opponent), ())
    assert against.tokens == record.memories["none"].tokens
    assert [each.name for each in against.by_document] == [each.name for each in record.memories[MEMORY].by_document]
    assert f"{against.perplexity:.3f}" in out
    assert "no memory, trained alike" in svg_text(Path("new/eval.svg"))


def svg_text(path: Path) -> str:
    """Labels are comments in the picture, for its letters are drawn."""
    return path.read_text(encoding="utf-8")


def test_an_opponent_that_differs_in_more_than_the_memory_is_told(memstack: Run, run: Path, tmp_path: Path) -> None:
    corpus = f"data.corpus={tmp_path / 'corpus'}"
    other = write_checkpoint(tmp_path / "other", "model.memory_layers=[]", "train.segment=8", "model.cache=8", corpus)
    record, out = evaluated(memstack, run, "--opponent", other)
    assert record.opponent is not None
    assert record.opponent.differs == ("model.cache is 8, not 0", "train.segment is 8, not 16")
    assert "note: the opponent differs in more than the memory: model.cache is 8, not 0; train.segment is 8" in out


def test_an_opponent_with_another_tokeniser_is_told(memstack: Run, run: Path, tmp_path: Path) -> None:
    corpus = f"data.corpus={tmp_path / 'corpus'}"
    other = write_checkpoint(tmp_path / "other", "model.memory_layers=[]", *BPE, corpus)
    _, out = evaluated(memstack, run, "--opponent", other, "--losses", "losses.npz", "--plot", "eval.svg")
    assert "another tokeniser: compare bits per byte" in out
    with np.load("losses.npz") as losses:
        assert "opponent" not in losses
    assert "trained alike" not in svg_text(Path("eval.svg"))


def test_an_opponent_with_a_memory_is_refused(memstack: Run, run: Path) -> None:
    ensure_refused(memstack("eval", run, "--opponent", run), "has memory layers [1, 2]: name a run without a memory")


def test_the_loss_of_every_token_is_written(memstack: Run, run: Path, opponent: Path) -> None:
    record, _ = evaluated(memstack, run, "--opponent", opponent, "--losses", "new/losses.npz")
    with np.load("new/losses.npz", allow_pickle=False) as losses:
        kept: dict[str, Any] = dict(losses)
    assert set(kept) == {"names", "document", "position", "token", "memory_off", "memory", "opponent"}
    assert sorted(kept["names"]) == sorted(each.name for each in record.memories["none"].by_document)
    for document in (0, 1):
        assert kept["position"][kept["document"] == document].tolist() == list(range(1, 200))
    for column, read in (("memory_off", record.memories["none"]), ("memory", record.memories[MEMORY])):
        assert np.exp(kept[column].astype(float).mean()) == pytest.approx(read.perplexity, rel=1e-5)

    evaluated(memstack, run, "--losses", "losses.jsonl")
    lines = [json.loads(line) for line in Path("losses.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 2 * 199
    assert lines[0].keys() == {"document", "position", "token", "memory_off", "memory"}
    assert [line["memory"] for line in lines] == pytest.approx(kept["memory"].tolist())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--plot", "eval.jpeg"], "--plot eval.jpeg ends in .jpeg; name a file that ends in .png or .svg or .pdf"),
        (["--plot", "eval"], "--plot eval ends in nothing; name a file that ends in .png"),
        (["--plot", "folder.png"], "--plot folder.png is a folder; name a file"),
        (["--losses", "losses.parquet"], "--losses losses.parquet ends in .parquet; name a file that ends in .npz or"),
        (["--losses", "folder.npz"], "--losses folder.npz is a folder; name a file"),
        (["--opponent", "nowhere"], "there is no run in nowhere"),
        (["--data", "nowhere"], "corpus 'nowhere' is no folder"),
        (["--set", "eval.tokens=1"], "eval.tokens and train.validate_tokens should be 2 or more"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_anything_is_read(
    memstack: Run, run: Path, given: list[str], message: str
) -> None:
    for folder in ("folder.png", "folder.npz"):
        Path(folder).mkdir()
    before = {path.name for path in Path().iterdir()}
    ensure_refused(memstack("eval", run, *given, "--json", "eval.json"), message)
    assert {path.name for path in Path().iterdir()} - before <= {"cache"}


def test_documents_of_a_byte_and_shorter_than_a_segment_are_read(memstack: Run, run: Path) -> None:
    Path("texts").mkdir()
    for name, text in {"one": "x", "short": "a few words", "odd\nname": "and more"}.items():
        Path("texts", name).write_text(text, encoding="utf-8")
    record, out = evaluated(memstack, run, "--data", "texts", "--set", "eval.documents=0")
    found = {each.name: each.tokens for each in record.memories["none"].by_document}
    assert set(found) == {"one", "short", "odd\\nname"}
    assert found["one"] == 1
    assert "are shorter than one segment" in out
    assert "odd\\nname" in out


def test_of_very_many_documents_the_longest_are_shown(memstack: Run, run: Path) -> None:
    Path("texts").mkdir()
    for number in range(30):
        Path("texts", f"{number}.txt").write_text("words " * (number + 1), encoding="utf-8")
    record, out = evaluated(memstack, run, "--data", "texts", "--set", "eval.documents=0")
    assert len(record.memories["none"].by_document) == 30
    assert "29.txt" in out
    assert "\n1.txt" not in out
    assert "and 10 shorter ones" in out
