"""A folder that cannot be read: one line that says what is wrong and what to do, and names all files at once."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.sample_data import read_folder

from memstack import CorpusError, create_corpus


def bad_byte(train: Path) -> None:
    (train / "bad.txt").write_bytes(b"abc\xff")


def bad_byte_compressed(train: Path) -> None:
    (train / "bad.txt.gz").write_bytes(gzip.compress(b"abcde\xff"))


def truncated_gzip(train: Path) -> None:
    (train / "bad.gz").write_bytes(gzip.compress(b"abcde" * 100)[:-9])


def not_gzip(train: Path) -> None:
    (train / "bad.gz").write_bytes(b"plain text")


def flipped_gzip(train: Path) -> None:
    content = bytearray(gzip.compress(bytes(range(256)) * 40))
    content[len(content) // 2] ^= 0xFF
    (train / "bad.gz").write_bytes(content)


def empty_file(train: Path) -> None:
    (train / "bad.txt").write_bytes(b"")


def blank_file(train: Path) -> None:
    (train / "bad.txt").write_bytes(b" \n\n")


def copy_of_one(train: Path) -> None:
    (train / "one.txt.gz").write_bytes(gzip.compress(b"the same name"))


def no_documents(train: Path) -> None:
    (train / "one.txt").unlink()


def no_split(train: Path) -> None:
    no_documents(train)
    train.rmdir()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (bad_byte, r"train/bad\.txt is not UTF-8 at byte 3: convert it"),
        (bad_byte_compressed, r"train/bad\.txt\.gz is not UTF-8 at byte 5: convert it"),
        (truncated_gzip, r"train/bad\.gz is not a sound gzip file .*: compress it again"),
        (not_gzip, r"train/bad\.gz is not a sound gzip file .*: compress it again"),
        (flipped_gzip, r"train/bad\.gz is not a sound gzip file .*: compress it again"),
        (empty_file, r"train/bad\.txt is empty: fill it"),
        (blank_file, r"train/bad\.txt is empty: fill it"),
        (copy_of_one, r"two documents are called train/one\.txt, .*: take one of them out"),
        (no_documents, r"train holds no documents: put UTF-8 text files into it"),
        (no_split, r"corpus has no folder train/ beside validation/ and test/: put its train documents"),
    ],
)
def test_a_bad_folder_is_one_line_with_the_mend(corpus: Path, break_it: Callable[[Path], None], message: str) -> None:
    break_it(corpus / "train")
    with pytest.raises(CorpusError, match=message) as error:
        read_folder(corpus, "train")
    assert "\n" not in str(error.value)


def test_all_files_that_cannot_be_read_are_named_at_once(corpus: Path) -> None:
    for break_it in (bad_byte, not_gzip):
        break_it(corpus / "train")
    (corpus / "train" / "a.txt").write_text(" ")
    with pytest.raises(CorpusError) as error:
        read_folder(corpus, "train")
    start, *problems = str(error.value).split("; ")
    assert start == "3 files cannot be read"
    assert problems[0].startswith("data.pattern chooses files, such as *.txt. ")
    assert [name in problem for name, problem in zip(("a.txt", "bad.gz", "bad.txt"), problems, strict=True)] == [
        True
    ] * 3


def test_very_many_files_that_cannot_be_read_are_counted(corpus: Path) -> None:
    for number in range(30):
        (corpus / "train" / f"{number}.bin").write_bytes(b"\xff")
    with pytest.raises(CorpusError, match=r"^30 files cannot be read.*; and 10 more$"):
        read_folder(corpus, "train")


def test_a_file_that_another_split_or_pattern_leaves_out_harms_nothing(corpus: Path) -> None:
    bad_byte(corpus / "train")
    assert len(read_folder(corpus, "test")) == 1
    assert len(read_folder(corpus, "train", pattern="one*")) == 1


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (
            ["test"],
            r"has no folder test/ beside train/ and validation/: put its test .* into .*corpus/test; or",
        ),
        (
            ["validation", "test"],
            r"has no folder validation/ and test/ beside train/: .*; or name .*corpus/train, ",
        ),
    ],
)
def test_some_split_folders_without_the_others_are_refused_at_once(corpus: Path, gone: list[str], message: str) -> None:
    for split in gone:
        shutil.rmtree(corpus / split)
    with pytest.raises(CorpusError, match=message):
        create_corpus("folder", path=corpus)


def test_a_path_that_is_no_folder_is_refused_at_once(corpus: Path) -> None:
    with pytest.raises(CorpusError, match="is a file, not a folder"):
        create_corpus("folder", path=corpus / "train" / "one.txt")
    with pytest.raises(CorpusError, match="is no folder: name one"):
        create_corpus("folder", path=corpus / "missing")
