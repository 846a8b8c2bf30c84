"""Corpora on the command line: listed, and a folder of one's own trained on and evaluated as it lies."""

import json
from pathlib import Path

import pytest
from helpers.command_line import Run, ensure_refused, settings

QUICK = ["train.steps=2", "train.segment=32", "train.rows=2", "data.tokenizer=bytes"]
NONE = "texts has no train/, validation/ and test/"


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Twelve texts and a picture, in no split folders."""
    (tmp_path / "texts").mkdir()
    for number in range(12):
        (tmp_path / "texts" / f"{number}.tex").write_text(f"document {number}, " * 40)
    (tmp_path / "texts" / "picture.png").write_bytes(b"\x89PNG\r\n")
    return tmp_path / "texts"


def chosen(*pairs: str) -> list[str]:
    return settings(*QUICK, *pairs)


def test_corpora_are_listed_with_where_they_come_from(memstack: Run) -> None:
    code, out, err = memstack("corpora")
    assert (code, err) == (0, "")
    titles, _, *lines = out.splitlines()
    assert titles.split() == ["corpus", "source", "licence", "library", "plugin"]
    listed = [line.split()[0] for line in lines if line[0] != " " and ":" not in line]
    assert listed == ["arxiv-math", "c4-long", "folder", "github", "isabelle", "mixture", "pg19", "python-stdlib"]
    assert "PSF-2.0" in out
    assert "python-stdlib: the standard library's packages, large modules and their tests" in out


@pytest.mark.usefixtures("texts")
def test_a_plain_folder_is_trained_on_and_evaluated(memstack: Run) -> None:
    pattern = chosen("data.corpus=texts", "data.pattern=*.tex")
    code, out, err = memstack("train", "tiny", *pattern, "--out", "run")
    assert code == 0, err
    assert out.count(f"{NONE}: its 12 documents are split by a hash of their names") == 1
    assert out.startswith("note: ")
    code, out, err = memstack("eval", "run")
    assert code == 0, err
    assert f"{NONE}: its 12 documents are split by a hash" in out
    code, out, err = memstack("eval", "run", "--data", "texts", "--json", "whole.json")
    assert code == 0, err
    assert f"{NONE}: all 12 documents are read as test" in out
    read = json.loads(Path("whole.json").read_text(encoding="utf-8"))["memories"]["none"]
    assert read["perplexity"] > 1


@pytest.mark.usefixtures("texts")
@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (
            [],
            "picture.png is not UTF-8 at byte 0: convert it, or take it out of the folder (data.pattern",
        ),
        (["data.pattern=*.txt"], "matches data.pattern *.txt: there are 12 *.tex, 1 *.png"),
        (["data.options.shars=3"], "corpus 'folder': shars is not a known key; did you mean 'shares'?"),
        (["data.patern=*.tex"], "data.patern is not a known key; did you mean 'pattern'?"),
    ],
)
def test_a_folder_that_cannot_be_read_is_one_line_and_writes_nothing(
    memstack: Run, pairs: list[str], message: str
) -> None:
    shares = ["data.options.shares.validation=0", "data.options.shares.test=0"]
    ensure_refused(memstack("train", "tiny", *chosen("data.corpus=texts", *shares, *pairs), "--out", "run"), message)
    assert not Path("run").exists()


def test_some_split_folders_without_the_others_are_refused_before_training(memstack: Run, texts: Path) -> None:
    (texts / "train").mkdir()
    (texts / "0.tex").rename(texts / "train" / "0.tex")
    code, _, err = memstack("train", "tiny", *chosen("data.corpus=texts"), "--out", "run")
    assert code == 2
    assert "has no folder validation/ and test/ beside train/" in err
    assert not Path("run").exists()
