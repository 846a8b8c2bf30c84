"""Theories of a folder of entries: what they import, and the order that follows from it."""

from pathlib import Path

import pytest
from memstack_models.data.corpora.theories import imports_of, in_import_order

from memstack import SPLITS, create_corpus


@pytest.mark.parametrize(
    ("theory", "imports"),
    [
        ("theory A imports Main begin", ["Main"]),
        ('theory A\n  imports "HOL-Library.Multiset" Base\n    "../Other/Thing"\nbegin', None),
        ("(* theory X imports Y begin (* nested *) *) theory A imports B begin", ["B"]),
        ('section \\<open>A theory imports nothing\\<close>\ntheory A imports B C keywords "x" begin', ["B", "C"]),
        ('text \u2039theory X imports Y begin\u203a theory A imports B\nabbrevs "a" = "b" begin', ["B"]),
        ("theory A begin end", []),
        ("theory A imports B", ["B"]),
        ("(* never closed theory A imports B begin", []),
        ("", []),
    ],
    ids=["plain", "quoted", "comment", "keywords", "abbrevs", "none", "cut off", "unclosed", "empty"],
)
def test_imports_are_read_from_the_header(theory: str, imports: list[str] | None) -> None:
    expected = ["HOL-Library.Multiset", "Base", "../Other/Thing"] if imports is None else imports
    assert imports_of(theory) == expected


def theory(path: str, *imports: str) -> str:
    return f"theory {Path(path).stem} imports {' '.join(imports) or 'Main'} begin end"


@pytest.mark.parametrize(
    ("imports", "order"),
    [
        ({"A": ["B"], "B": ["C"], "C": []}, ["C", "B", "A"]),
        ({"A": [], "B": [], "C": ["A"]}, ["A", "B", "C"]),
        ({"A": ["Entry.C", "HOL-Library.Z"], "B": [], "C": []}, ["C", "A", "B"]),
        ({"A": ["B"], "B": ["A"]}, ["B", "A"]),
        ({"A": ["A"]}, ["A"]),
        ({"x/Base": [], "y/Base": [], "y/Top": ["Base"], "a/Top": ['"../x/Base"']}, None),
    ],
    ids=["chain", "names", "sessions", "circle", "itself", "folders"],
)
def test_a_theory_follows_what_it_imports(imports: dict[str, list[str]], order: list[str] | None) -> None:
    theories = {f"E/{name}.thy": theory(name, *needs) for name, needs in imports.items()}
    expected = ["x/Base", "a/Top", "y/Base", "y/Top"] if order is None else order
    assert in_import_order(theories) == [f"E/{name}.thy" for name in expected]


def test_a_chain_of_any_length_is_followed() -> None:
    chain = {f"T{n:04}.thy": theory(f"T{n:04}", f"T{n + 1:04}") for n in range(3000)}
    assert in_import_order(chain) == sorted(chain, reverse=True)


def test_a_folder_of_entries_is_read_as_one_document_each(tmp_path: Path) -> None:
    for number in range(6):
        entry = tmp_path / "thys" / f"Entry_{number}"
        entry.mkdir(parents=True)
        (entry / "A.thy").write_text(f"theory A imports B begin (* {number} *) end\n")
        (entry / "B.thy").write_text("theory B imports Main begin end\n")
        (entry / "root.tex").write_text("\\documentclass{article}")
        (entry / "document").mkdir()
    corpus = create_corpus("isabelle", path=tmp_path)
    documents = [document for split in SPLITS for document in corpus.documents(split)]
    assert sorted(document.name for document in documents) == [f"Entry_{number}" for number in range(6)]
    assert documents[0].text.startswith("theory B imports Main begin end\n\ntheory A imports B")
    assert "a document per entry: 4 train, 1 validation, 1 test" in (corpus.notice() or "")
