"""What goes wrong between here and a public data set is one line, with the mend, before anything is written."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from helpers import published_data
from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError
from memstack_models.data.corpora import hub
from memstack_models.data.corpora.pg19 import PG19Corpus

from memstack import CorpusError, CorpusUnavailableError, OptionsError, create_corpus

FOLDER = "read such documents from a folder: data.options.path=FOLDER, for instance examples/data/books"


def hub_error(kind: type[Exception]) -> Exception:
    """An error as the library raises it, without the answer of a server that it wants."""
    error = kind.__new__(kind)
    Exception.__init__(error, "an answer\nof several lines")
    return error


def wrapped(cause: Exception) -> Exception:
    """An error that says little, from one that says more."""
    error = RuntimeError("cannot iterate")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OfflineModeIsEnabled("offline"), "cannot be reached: there is no way to huggingface.co"),
        (ConnectionError("a lost line"), "cannot be reached"),
        (wrapped(ConnectionError("a lost line")), "cannot be reached"),
        (hub_error(RevisionNotFoundError), "has no such revision, or not the files"),
        (FileNotFoundError("no file"), "has no such revision, or not the files"),
        (hub_error(RepositoryNotFoundError), "there is no data set emozilla/pg19 at c021754c8e01, or it wants a login"),
        (hub_error(GatedRepoError), "or it wants a login"),
        (ValueError("column\nmissing"), "cannot be read (ValueError: column missing)"),
    ],
    ids=["offline", "lost", "caused", "revision", "files", "data set", "gated", "other"],
)
def test_a_failure_is_one_line_with_the_mend(error: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> Any:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(CorpusError) as raised:
        list(create_corpus("pg19").documents("train"))
    text = str(raised.value)
    assert said in text
    assert text.endswith(f"; {FOLDER} of the repository")
    assert "\n" not in text


def test_without_a_network_the_real_library_fails_so_too(tmp_path: Path) -> None:
    code = "import memstack; next(memstack.create_corpus('pg19').documents('train'))"
    surroundings = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=surroundings, capture_output=True, text=True, check=False)
    assert "CorpusError: emozilla/pg19 at c021754c8e01 cannot be reached" in done.stderr.strip().splitlines()[-1]


def test_without_the_library_the_pip_line_is_said_and_folders_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    with pytest.raises(CorpusUnavailableError, match=r"pip install 'memstack\[hub\]'; or read such documents"):
        create_corpus("pg19")
    (tmp_path / "one.txt").write_text("a book")
    assert len(list(create_corpus("pg19", path=tmp_path).documents("train"))) == 1


def test_a_copy_without_the_files_or_the_columns_is_said(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=f"{tmp_path} has no such revision, or not the files that are read of it"):
        list(create_corpus("pg19", dataset=str(tmp_path)).documents("train"))
    published_data.github(tmp_path)
    (tmp_path / "data" / "train-00000-of-00880.parquet").rename(tmp_path / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(CorpusError, match=r"cannot be read \(.*short_book_title"):
        list(create_corpus("pg19", dataset=str(tmp_path)).documents("train"))


def test_files_are_named_by_the_pinned_revision_and_read_without_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load(builder: str, **given: Any) -> Any:
        asked.update(given, builder=builder)
        raise ConnectionError

    monkeypatch.setattr(datasets, "load_dataset", load)
    for options in ({}, {"revision": "refs/convert/parquet", "dataset": "some/books"}):
        with pytest.raises(CorpusError):
            next(create_corpus("pg19", **options).documents("test"))
        place = "some/books@refs%2Fconvert%2Fparquet" if options else f"emozilla/pg19@{PG19Corpus.source.revision}"
        assert asked["data_files"] == {"train": [f"hf://datasets/{place}/data/test-*.parquet"]}
        assert asked["streaming"] is True
        assert asked["builder"] == "parquet"
    assert len(PG19Corpus.source.revision) == 40


def test_bad_options_and_splits_are_refused_before_anything_is_asked() -> None:
    with pytest.raises(OptionsError, match="documents"):
        create_corpus("pg19", documents=-1)
    with pytest.raises(CorpusError, match="no split"):
        next(create_corpus("pg19").documents("trian"))  # pyright: ignore[reportArgumentType]
