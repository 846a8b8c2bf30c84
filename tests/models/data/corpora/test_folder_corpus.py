"""The folder corpus: which files it reads, under which names, and how it splits a folder that is not split."""

import gzip
import hashlib
import shutil
from pathlib import Path

import pytest
from helpers.sample_data import KINDS, SAMPLE, index, read_folder

from memstack import SPLITS, CorpusError, Document, OptionsError, create_corpus
from memstack.contract.corpus import Split


def names(folder: Path, split: Split, **options: object) -> list[str]:
    return [document.name for document in read_folder(folder, split, **options)]


def splits(folder: Path, **options: object) -> dict[str, str]:
    """The split of every document of a folder."""
    return {name: split for split in SPLITS for name in names(folder, split, **options)}


def test_folder_reads_plain_and_compressed_files_at_any_depth(corpus: Path) -> None:
    (corpus / "train" / "deep" / "er").mkdir(parents=True)
    (corpus / "train" / "deep" / "er" / "two.md.gz").write_bytes(gzip.compress("zwei\r\nüber\n".encode()))
    assert read_folder(corpus, "train") == (
        Document("train/deep/er/two.md", "zwei\r\nüber\n"),
        Document("train/one.txt", "the train document\n"),
    )


def test_folder_ignores_hidden_files(corpus: Path) -> None:
    (corpus / "train" / ".git").mkdir()
    (corpus / "train" / ".git" / "config").write_bytes(b"\xff")
    (corpus / "train" / ".DS_Store").write_bytes(b"\xff")
    assert names(corpus, "train") == ["train/one.txt"]


def test_what_lies_beside_the_split_folders_is_no_document(corpus: Path) -> None:
    (corpus / "README.md").write_bytes(b"\xff")
    assert splits(corpus) == {f"{split}/one.txt": split for split in SPLITS}
    assert create_corpus("folder", path=corpus).notice() is None


def test_a_relative_folder_starts_at_the_current_directory(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpus.parent)
    assert read_folder(Path("corpus"), "test") == read_folder(corpus, "test")


@pytest.mark.parametrize("kind", KINDS)
def test_real_documents_arrive_byte_by_byte(kind: str) -> None:
    for split in SPLITS:
        chosen = [record for record in index() if (record["kind"], record["split"]) == (kind, split)]
        expected = {f"{split}/{record['slug']}.txt": record["sha256"] for record in chosen}
        found = {d.name: hashlib.sha256(d.text.encode()).hexdigest() for d in read_folder(SAMPLE / kind, split)}
        assert found == expected


def test_a_plain_folder_is_split_and_says_so(plain: Path) -> None:
    found = splits(plain)
    assert sorted(found) == sorted(f"deep/{n}.txt" if n % 2 else f"{n}.txt" for n in range(20))
    counts = [list(found.values()).count(split) for split in SPLITS]
    assert min(counts) >= 1
    assert counts[0] >= 14
    assert create_corpus("folder", path=plain).notice() == (
        f"{plain} has no train/, validation/ and test/: its 20 documents are split by a hash of their names, "
        f"{counts[0]} train, {counts[1]} validation, {counts[2]} test"
    )


def test_a_split_depends_on_names_alone(plain: Path, tmp_path: Path) -> None:
    before = splits(plain)
    other = tmp_path / "elsewhere"
    shutil.copytree(plain, other)
    for path in [path for path in other.rglob("*.txt") if path.stem in ("3", "8")]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(b"another text"))
        path.unlink()
    assert splits(other) == before


def test_a_share_of_all_reads_a_plain_folder_whole(plain: Path) -> None:
    whole = {"train": 0, "validation": 0, "test": 1}
    assert len(names(plain, "test", shares=whole)) == 20
    notice = create_corpus("folder", path=plain, shares=whole).notice()
    assert notice == f"{plain} has no train/, validation/ and test/: all 20 documents are read as test"
    with pytest.raises(CorpusError, match="has 20 documents, too few for a train split: add some"):
        names(plain, "train", shares=whole)


@pytest.mark.parametrize("shares", [{"train": -1}, {"train": 0, "validation": 0, "test": 0}])
def test_shares_that_divide_nothing_are_refused(plain: Path, shares: dict[str, float]) -> None:
    with pytest.raises(OptionsError, match=r"corpus 'folder': shares: shares should be 0 or more, and not all 0; got"):
        create_corpus("folder", path=plain, shares=shares)


def test_one_document_cannot_be_split(tmp_path: Path) -> None:
    (tmp_path / "only.txt").write_text("only")
    assert names(tmp_path, "train") == ["only.txt"]
    with pytest.raises(CorpusError, match=r"has 1 document, too few for a test split: add some, make train/"):
        names(tmp_path, "test")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.tex", ["a.tex", "deep/b.tex"]),
        (["*.tex"], ["a.tex", "deep/b.tex"]),
        ("*.tex, *.bib", ["a.tex", "c.bib", "deep/b.tex"]),
        ("deep/*", ["deep/b.tex", "deep/d.png"]),
        ("[ac].*", ["a.tex", "c.bib"]),
        ("A.tex,c.bib", ["c.bib"]),
    ],
)
def test_a_pattern_chooses_files(tmp_path: Path, pattern: object, expected: list[str]) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.tex", "c.bib", "deep/d.png"):
        (tmp_path / name).write_text(name)
    (tmp_path / "deep/b.tex.gz").write_bytes(gzip.compress(b"b"))
    assert names(tmp_path, "train", pattern=pattern, shares={"validation": 0, "test": 0}) == expected


def test_a_pattern_without_a_match_says_what_is_there(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt.gz", "c.png", "Makefile"):
        (tmp_path / name).write_text(name)
    message = r"matches data\.pattern \*\.tex, \*\.bib: there are 2 \*\.txt, 1 \*, 1 \*\.png"
    with pytest.raises(CorpusError, match=message):
        names(tmp_path, "train", pattern="*.tex,*.bib")
