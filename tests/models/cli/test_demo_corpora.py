"""The demo's table of five corpora."""

from pathlib import Path

import pytest
from memstack_models.cli import demo_corpora
from memstack_models.cli.demo_corpora import MEMORY, corpora_table, read_corpora
from memstack_models.evaluation.records import Compared
from memstack_models.report.reproduce import corpora


def compared(perplexity: float, bits: float) -> Compared:
    return Compared(
        perplexity=2 * perplexity, perplexity_beyond_4k=perplexity, bits_per_byte=bits, tokens=100, by_position={}
    )


def test_a_line_has_both_perplexities_and_their_change() -> None:
    table = corpora_table({"isabelle": {"none": compared(10.0, 2.0), MEMORY: compared(7.5, 1.5)}})
    cells = [[*column.cells] for column in table.columns]
    assert cells == [["isabelle"], ["formal proofs"], ["10.00"], ["7.50"], ["-25.0 %"], ["2.000"], ["1.500"]]


def test_what_is_not_at_hand_has_a_note_and_the_others_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(corpora, "CHECKOUT", tmp_path)
    monkeypatch.setattr(demo_corpora, "READ", ["eval.documents=1", "eval.tokens=300", "eval.rows=1"])
    assert {*read_corpora()} == {"github"}
    said = "".join(capsys.readouterr())
    assert "is part of memstack's repository" in said


def test_every_kind_is_read_with_and_without_a_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_corpora, "READ", ["eval.documents=1", "eval.tokens=300", "eval.rows=1"])
    read = read_corpora()
    assert {*read} == {*corpora.sources()}
    assert all({*each} == {"none", MEMORY} for each in read.values())
    assert all(each[MEMORY].tokens == 299 for each in read.values())
