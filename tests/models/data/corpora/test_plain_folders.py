"""A folder as it lies there: odd files are read, named all at once, or left out by name; nothing is passed over."""

import gzip
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.sample_data import read_folder

from memstack import ConfigError, Corpus, CorpusError, OptionsError, create_corpus
from memstack.contract.corpus import Split

UMLAUTS = "größe\n"


def read(corpus: Corpus, split: Split = "train") -> dict[str, str]:
    return {document.name: document.text for document in corpus.documents(split)}


def left_out(corpus: Path) -> str:
    notice = create_corpus("folder", path=corpus).notice() or ""
    return notice.partition("left out of ")[2]


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.GZ", "a.txt", "a"])
def test_gzip_is_known_by_what_it_begins_with_under_any_name(corpus: Path, name: str) -> None:
    (corpus / "train" / name).write_bytes(gzip.compress(UMLAUTS.encode()))
    called = name[:-3] if name.lower().endswith(".gz") else name
    assert read(create_corpus("folder", path=corpus))[f"train/{called}"] == UMLAUTS


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_byte_order_mark_is_no_text(corpus: Path, pack: Callable[[bytes], bytes]) -> None:
    (corpus / "train" / "a.txt").write_bytes(pack(b"\xef\xbb\xbf" + UMLAUTS.encode()))
    assert read(create_corpus("folder", path=corpus))["train/a.txt"] == UMLAUTS


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252", "utf-8-sig"])
def test_all_files_can_be_of_another_encoding(corpus: Path, encoding: str) -> None:
    for path in corpus.rglob("*.txt"):
        path.write_bytes(UMLAUTS.encode(encoding))
    assert read(create_corpus("folder", path=corpus, encoding=encoding)) == {"train/one.txt": UMLAUTS}


@pytest.mark.parametrize("encoding", ["latin-0", "hex", "rot13", "", "a\0b", "x" * 5000])
def test_an_encoding_that_does_not_exist_is_refused(corpus: Path, encoding: str) -> None:
    with pytest.raises(OptionsError, match=r"encoding should be one that Python knows, such as utf-8 or latin-1"):
        create_corpus("folder", path=corpus, encoding=encoding)


def spoil(folder: Path) -> None:
    """One file of each kind that is no text."""
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    (folder / "zeros.dat").write_bytes(b"abc\0def")
    (folder / "wide.txt").write_bytes("wide".encode("utf-16"))
    (folder / "broken.gz").write_bytes(gzip.compress(b"abc" * 99)[:-9])
    (folder / "empty.txt").write_bytes(b"")
    (folder / "mark.txt").write_bytes(b"\xef\xbb\xbf")


def test_one_line_has_all_files_of_all_splits_with_reasons_and_counts(corpus: Path) -> None:
    spoil(corpus / "train")
    (corpus / "test" / "blank.txt").write_bytes(b"\n\n")
    with pytest.raises(CorpusError) as error:
        read_folder(corpus, "train")
    told = str(error.value)
    assert "\n" not in told
    assert told.startswith("8 files cannot be read; ")
    assert "cannot be read: 3 empty, 2 binary, 1 damaged gzip, 1 not UTF-8, 1 UTF-16. " in told
    for name in (
        "latin.txt",
        "picture.png",
        "zeros.dat",
        "wide.txt",
        "broken.gz",
        "empty.txt",
        "mark.txt",
        "blank.txt",
    ):
        assert told.count(name) == 1


def test_what_cannot_be_read_is_left_out_on_request_with_one_note(corpus: Path) -> None:
    spoil(corpus / "train")
    lenient = create_corpus("folder", path=corpus, unreadable="skip")
    for _ in range(2):
        assert list(read(lenient)) == ["train/one.txt"]
    assert (lenient.notice() or "").partition("left out of ")[2] == (
        f"{corpus}: 1 damaged gzip (train/broken.gz), 2 empty (train/empty.txt, train/mark.txt), 1 not UTF-8 "
        "(train/latin.txt), 2 binary (train/picture.png, train/zeros.dat), 1 UTF-16 (train/wide.txt)"
    )


def test_what_is_no_file_is_named_once_with_the_count(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = corpus / "train"
    monkeypatch.chdir(train)
    (train / "linked").symlink_to(corpus / "test")
    (train / "circle").symlink_to(train)
    (train / "gone").symlink_to(corpus / "nowhere")
    (train / "itself").symlink_to(train / "itself")
    os.mkfifo(train / "queue")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("plug")
        (train / "device").symlink_to("/dev/null")
        (train / ".hidden").write_text("x")
        for number in range(5):
            (train / f".{number}").write_text("x")
        assert left_out(corpus) == (
            f"{corpus}: 6 hidden (train/.0, train/.1, train/.2, ...), 2 linked folder (train/circle, train/linked), "
            "1 device (train/device), 2 dangling link (train/gone, train/itself), 1 socket (train/plug), "
            "1 pipe (train/queue)"
        )
        assert list(read(create_corpus("folder", path=corpus))) == ["train/one.txt"]


def test_a_linked_file_is_read(corpus: Path) -> None:
    (corpus / "train" / "two.txt").symlink_to(corpus / "train" / "one.txt")
    assert list(read(create_corpus("folder", path=corpus))) == ["train/one.txt", "train/two.txt"]
    assert left_out(corpus) == ""


def test_a_file_that_goes_while_the_folder_is_read_is_told(corpus: Path) -> None:
    (corpus / "train" / "two.txt").write_text("two")
    reading = create_corpus("folder", path=corpus).documents("train")
    next(reading)
    (corpus / "train" / "two.txt").unlink()
    with pytest.raises(CorpusError, match=r"two\.txt cannot be read \(No such file or directory\)"):
        list(reading)


def test_a_folder_that_cannot_be_listed_is_told(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (corpus / "train" / "closed").mkdir()
    scan = os.scandir

    def refusing(place: Path) -> object:
        if place.name == "closed":
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(CorpusError, match=r"train/closed cannot be listed \(Permission denied\): make it readable"):
        read_folder(corpus, "train")
    lenient = create_corpus("folder", path=corpus, unreadable="skip")
    assert list(read(lenient)) == ["train/one.txt"]
    assert "1 unreadable folder (train/closed)" in (lenient.notice() or "")


@pytest.mark.parametrize(
    "name", [b"new\nline.txt", b"not-\xff-utf8.txt", "größe.txt".encode(), b"tab\t.txt", b"[x].txt"]
)
def test_odd_names_are_read_and_shown_on_one_line(corpus: Path, name: bytes) -> None:
    path = Path(os.fsdecode(bytes(corpus / "train") + b"/" + name))
    path.write_text("text")
    assert f"train/{os.fsdecode(name)}" in read(create_corpus("folder", path=corpus))
    path.write_bytes(b"\xff")
    with pytest.raises(CorpusError) as error:
        read_folder(corpus, "train")
    assert str(error.value).isprintable()
    lenient = create_corpus("folder", path=corpus, unreadable="skip")
    read(lenient)
    assert (lenient.notice() or "").isprintable()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_without_documents_is_told_before_a_training(corpus: Path, split: Split) -> None:
    (corpus / split / "one.txt").unlink()
    with pytest.raises(CorpusError, match=rf"{split} holds no documents"):
        read_folder(corpus, "train")


def test_a_folder_too_small_for_a_test_split_says_so_before_a_training(tmp_path: Path) -> None:
    (tmp_path / "only.txt").write_text("only")
    assert (create_corpus("folder", path=tmp_path).notice() or "").endswith(
        "1 train, 0 validation, 0 test; there are none for validation and test: memstack eval will need --data"
    )


@pytest.mark.parametrize("path", ["x" * 5000, "~no-such-user/texts", "/dev/null", "a\0b"])
def test_a_path_that_cannot_be_looked_at_is_one_line(path: str) -> None:
    with pytest.raises((CorpusError, ConfigError)) as error:
        create_corpus("folder", path=path)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("share", [float("nan"), float("inf"), 1e308, -0.5])
def test_shares_that_are_no_numbers_are_refused(corpus: Path, share: float) -> None:
    with pytest.raises(OptionsError, match="shares should be 0 or more, and not all 0"):
        create_corpus("folder", path=corpus, shares=dict.fromkeys(("train", "validation", "test"), share))


def test_shares_next_to_nothing_divide_as_any_others(plain: Path) -> None:
    tiny = dict.fromkeys(("train", "validation", "test"), 5e-324)
    assert read(create_corpus("folder", path=plain, shares=tiny), "train")
