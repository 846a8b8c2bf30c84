"""The five corpora by name keep the promises of corpora: on the repository's own texts, and on copies of data sets."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from helpers import published_data
from helpers.sample_data import SAMPLE

from memstack import SPLITS, Corpus, CorpusError, corpora, create_corpus
from memstack.testing import CorpusContract

REPOSITORY = SAMPLE.parents[1]
COPIES: dict[str, Callable[[Path], Path]] = {
    "pg19": published_data.pg19,
    "arxiv-math": published_data.proof_pile,
    "isabelle": published_data.proof_pile,
    "c4-long": published_data.c4,
    "github": published_data.github,
}
FIVE = tuple(COPIES)
OPTIONS: dict[str, dict[str, Any]] = {"github": {"shortest": 0}}


def folder_options(name: str) -> dict[str, Any]:
    """A spec's test options, which name folders of the repository, from wherever the tests run."""
    (spec,) = [spec for spec in corpora() if spec.name == name]
    return spec.test_options | {"path": str(REPOSITORY / spec.test_options["path"])}


class SplitFolder(CorpusContract):
    """A folder with splits is read as the corpus ``folder`` reads it, whose test has another process read it too."""

    def test_another_process_reads_the_same(self) -> None:
        pytest.skip("the corpus 'folder' is tested so, which this is")


class TestBooks(SplitFolder):
    corpus = "pg19"
    options: Mapping[str, Any] | None = folder_options("pg19")


class TestMathematics(SplitFolder):
    corpus = "arxiv-math"
    options: Mapping[str, Any] | None = folder_options("arxiv-math")


class TestRepositories(CorpusContract):
    corpus = "github"
    options: Mapping[str, Any] | None = folder_options("github")


class TestTheories(CorpusContract):
    corpus = "isabelle"
    options: Mapping[str, Any] | None = folder_options("isabelle")


class TestLongPages(SplitFolder):
    corpus = "c4-long"
    options: Mapping[str, Any] | None = folder_options("c4-long")


class Copy(CorpusContract):
    """A copy of the data set's files, read as the published ones are."""

    name: ClassVar[str]

    @pytest.fixture(autouse=True)
    def _copied(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        root = COPIES[self.name](tmp_path_factory.mktemp("copy"))
        self.corpus = lambda: copied(self.name, root)


class TestCopiedBooks(Copy):
    name = "pg19"


class TestCopiedMathematics(Copy):
    name = "arxiv-math"


class TestCopiedRepositories(Copy):
    name = "github"


class TestCopiedTheories(Copy):
    name = "isabelle"


class TestCopiedPages(Copy):
    name = "c4-long"


def copied(name: str, root: Path, **options: Any) -> Corpus:
    return create_corpus(name, dataset=str(root), **OPTIONS.get(name, {}) | options)


@pytest.mark.parametrize("name", FIVE)
def test_so_many_documents_are_read_and_a_tenth_held_out(name: str, tmp_path: Path) -> None:
    corpus = copied(name, COPIES[name](tmp_path), documents=2)
    assert [len(list(corpus.documents(split))) for split in SPLITS] == [2, 1, 1]
    assert "the first 2 documents" in (corpus.notice() or "")
    everything = copied(name, tmp_path, documents=0)
    assert len(list(everything.documents("train"))) >= 2
    assert "all documents" in (everything.notice() or "")


def test_books_have_their_numbers_and_titles(tmp_path: Path) -> None:
    names = [document.name for document in copied("pg19", published_data.pg19(tmp_path)).documents("train")]
    assert names == ["50 Book train 0", "51 Book train 1", "52 Book train 2"]


def test_of_the_proof_pile_only_the_part_that_is_meant_is_read(tmp_path: Path) -> None:
    root = published_data.proof_pile(tmp_path)
    texts = [document.text for document in copied("arxiv-math", root).documents("train")]
    assert len(texts) == 3
    assert all(text.startswith("\\section") for text in texts)


def test_an_entrys_theories_are_brought_together_in_the_order_of_their_imports(tmp_path: Path) -> None:
    corpus = copied("isabelle", published_data.proof_pile(tmp_path))
    texts = {document.name: document.text for split in SPLITS for document in corpus.documents(split)}
    assert sorted(texts) == ["Alpha", "Beta", "Delta", "Epsilon", "Gamma"][: len(texts)]
    assert [line for line in texts["Alpha"].splitlines() if line.startswith("theory")] == [
        "theory Zero imports Main begin",
        "theory Base imports Zero begin",
        "theory Main_Result imports Base begin",
    ]


def test_pages_have_tokens_enough_and_c4s_validation_split_is_halved(tmp_path: Path) -> None:
    corpus = copied("c4-long", published_data.c4(tmp_path))
    names = {split: [document.name for document in corpus.documents(split)] for split in SPLITS}
    assert len(names["train"]) == 12
    assert len(names["validation"]) + len(names["test"]) == 12
    assert all(name.startswith("validation ") for name in names["test"])


def test_a_repositorys_files_are_joined_folder_by_folder(tmp_path: Path) -> None:
    document = next(copied("github", published_data.github(tmp_path)).documents("train"))
    assert document.name == "someone/project-0"
    assert [line for line in document.text.splitlines() if line.startswith("# ")] == [
        "# setup.py",
        "# src/a.c",
        "# src/b.c",
    ]


def test_what_is_no_text_and_what_came_before_is_left_out(tmp_path: Path) -> None:
    rows = [{"text": text, "meta": {"config": "arxiv", "file": "one"}} for text in (" \n", "\ud800", "sound", "again")]
    for split in ("train", "dev", "test"):
        published_data.write_lines(tmp_path / split / f"proofpile_{split}.jsonl.gz", rows)
    assert [document.text for document in copied("arxiv-math", tmp_path).documents("train")] == ["sound"]


def test_short_pages_of_a_folder_are_left_out_and_none_left_is_an_error(tmp_path: Path) -> None:
    for split in SPLITS:
        (tmp_path / split).mkdir()
        (tmp_path / split / "short.txt").write_text(f"a few words of {split}")
    assert len(list(create_corpus("c4-long", path=tmp_path, shortest=4).documents("train"))) == 1
    with pytest.raises(CorpusError, match=r"no train documents of 4,096 tokens \(data.options.shortest\) or more"):
        list(create_corpus("c4-long", path=tmp_path).documents("train"))
