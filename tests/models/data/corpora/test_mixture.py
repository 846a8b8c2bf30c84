"""Several corpora as one."""

from pathlib import Path
from typing import Any

import pytest
from helpers.sample_data import SAMPLE
from helpers.small_corpus import write_corpus
from memstack_models.data.config import DataConfig
from memstack_models.data.documents import corpus_of

from memstack import SPLITS, CorpusError, OptionsError, UnknownCorpusError, create_corpus
from memstack.testing import CorpusContract

THEORIES = str(SAMPLE / "isabelle")
PROOFS = {"corpus": "isabelle", "options": {"path": THEORIES}}


class TestMixture(CorpusContract):
    corpus = "mixture"
    options = {"parts": [PROOFS, {"corpus": str(SAMPLE / "web"), "name": "pages"}]}  # noqa: RUF012 - the kit's own form


def test_every_document_of_every_part_is_there_under_its_parts_name(tmp_path: Path) -> None:
    write_corpus(tmp_path, documents=2, words=30)
    mixed = create_corpus("mixture", parts=[PROOFS, {"corpus": str(tmp_path), "name": "mine"}])
    parts = {"isabelle": create_corpus("isabelle", path=THEORIES), "mine": create_corpus("folder", path=tmp_path)}
    for split in SPLITS:
        wanted = [(f"{name}/{each.name}", each.text) for name, part in parts.items() for each in part.documents(split)]
        assert [(each.name, each.text) for each in mixed.documents(split)] == wanted
        assert {name.partition("/")[0] for name, _ in wanted} == {*parts}


def test_it_is_known_without_reading_where_all_its_parts_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_corpus(tmp_path, documents=2, words=30)
    standard = {"corpus": "python-stdlib"}
    assert create_corpus("mixture", parts=[standard, {"corpus": str(tmp_path)}]).identity() is None
    monkeypatch.setattr("memstack_models.data.corpora.stdlib.StdlibCorpus.identity", lambda self: "3.11")
    known = [create_corpus("mixture", parts=[standard, standard | {"name": name}]).identity() for name in "ab"]
    assert known[0] is not None
    assert known[0] != known[1]


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([PROOFS], OptionsError, "at least 2 items"),
        ([PROOFS, PROOFS], OptionsError, "two parts are called isabelle: give each a name of its own"),
        ([PROOFS, {"corpus": "isabel"}], UnknownCorpusError, "isabel"),
        ([PROOFS, {"corpus": "folder", "options": {"path": "/no/such"}}], CorpusError, "/no/such is no folder"),
        ([PROOFS, {"corpus": "python-stdlib", "options": {"pathe": "x"}}], OptionsError, "pathe"),
    ],
)
def test_a_part_that_is_wrong_is_told_before_anything_is_read(
    parts: list[Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        corpus_of(DataConfig(corpus="mixture", options={"parts": parts}))
