"""Rows of a public data set, streamed by Hugging Face ``datasets`` from a pinned revision; no script of it is run."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from memstack import CorpusError, CorpusUnavailableError, Split
from memstack.contract.errors import in_one_line, printable

LIBRARY, PIP_LINE = "datasets", "pip install 'memstack[hub]'"
OUT_OF_REACH = {
    "OfflineModeIsEnabled",
    "LocalEntryNotFoundError",
    "ConnectionError",
    "ConnectError",
    "TimeoutException",
    "NetworkError",
}
ABSENT = {"RevisionNotFoundError", "FileNotFoundError", "EntryNotFoundError"}
NO_FILES = "data_files are invalid"
"""In what ``datasets`` says of patterns that no file matches."""
CLOSED = {"RepositoryNotFoundError", "GatedRepoError"}


@dataclass(frozen=True)
class Source:
    """A data set: where it lies, and which of its files hold the rows of a split."""

    dataset: str
    """``OWNER/NAME`` on the Hub; or, from ``/``, ``.`` or ``~``, a folder that holds a copy of its files."""
    revision: str
    """A commit of it, or a branch or tag, which may move; of a folder it says nothing."""
    builder: Literal["parquet", "json", "text"]
    """How ``datasets`` reads a file: rows of Parquet, a JSON object a line, or plain lines in a column ``text``."""
    files: Mapping[Split, tuple[str, ...]]
    """Patterns of the files, below the data set, that each split is made of."""
    columns: tuple[str, ...]
    """What a row has to have; nothing else is read of it."""
    reading: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """More that the builder is told."""

    @property
    def shown(self) -> str:
        """What it is called in messages."""
        return printable(self.dataset if self.is_folder else f"{self.dataset} at {self.revision[:12]}")

    def rows(self, split: Split, mend: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of the files of a split, in their order; CorpusError, with ``mend``, if that fails."""
        try:
            yield from self._stream(split)
        except Exception as error:
            raise CorpusError(f"{self._why(error)}; {mend}") from error

    @property
    def is_folder(self) -> bool:
        """True for a copy of its files in a folder."""
        return self.dataset.startswith(("/", ".", "~"))

    def _stream(self, split: Split) -> Any:
        from datasets import load_dataset  # late: it takes a second to import

        # The builders by name, and the files by theirs: what else lies there, a loading script or a card, is not asked.
        files = [self._address(pattern) for pattern in self.files[split]]
        rows: Any = load_dataset(
            self.builder, data_files={"train": files}, split="train", streaming=True, **dict(self.reading)
        )
        return rows.select_columns(list(self.columns))

    def _address(self, pattern: str) -> str:
        if self.is_folder:
            return str(Path(os.path.expanduser(self.dataset)).absolute() / pattern)
        # A slash in a branch's name, as in refs/convert/parquet, would be one of the path.
        return f"hf://datasets/{self.dataset}@{self.revision.replace('/', '%2F')}/{pattern}"

    def _why(self, error: Exception) -> str:
        kinds = {kind.__name__ for each in _chain(error) for kind in type(each).__mro__}
        if kinds & CLOSED:
            return f"there is no data set {self.shown}, or it wants a login (hf auth login)"
        if kinds & OUT_OF_REACH:
            return f"{self.shown} cannot be reached: there is no way to huggingface.co from here"
        if kinds & ABSENT or NO_FILES in str(error):
            return f"{self.shown} has no such revision, or not the files that are read of it"
        return f"{self.shown} cannot be read ({in_one_line(error)})"


def ensure_library(corpus: str, mend: str) -> None:
    """CorpusUnavailableError, with the pip line and ``mend``, unless ``datasets`` is installed."""
    if find_spec(LIBRARY) is None:
        raise CorpusUnavailableError(f"corpus {corpus!r} is streamed with {LIBRARY}: {PIP_LINE}; or {mend}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
