"""PublishedCorpus: a public data set, streamed; or the same kind of documents from a folder."""

import re
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar

from memstack import Corpus, CorpusError, Document, Split, check_split
from memstack.plugins.bounds import CountOrNone
from memstack.plugins.placement import PLACEMENT
from memstack_models.data.corpora.folder import FolderCorpus, ReadingOptions
from memstack_models.data.corpora.hub import Source, ensure_library

FORMAT = 1
"""How documents are made of the rows; another number wherever that gives others."""
HELD_OUT = 10
"""Of each held-out split, one document is read for so many of the train split."""


class PublishedOptions(ReadingOptions):
    """Where the documents come from, and how many are read."""

    path: Annotated[Path | None, PLACEMENT] = None
    """A folder of such documents, read in place of the published ones; the options above say how."""
    dataset: Annotated[str, PLACEMENT] = ""
    """Another data set of the same form, ``OWNER/NAME``; or, from ``/``, ``.`` or ``~``, a folder with a copy of it."""
    revision: str = ""
    """Another commit, branch or tag than the one that is pinned."""
    documents: CountOrNone = 1000
    """So many published documents are read for training, a tenth of that for validation and for test; 0 is all."""


class PublishedCorpus(Corpus):
    """Documents of a data set on the Hugging Face Hub, in its order, or of a folder, as ``FolderCorpus`` reads it."""

    name: ClassVar[str]
    source: ClassVar[Source]
    sample: ClassVar[str]
    """What to read without a network, as the value of ``data.options.path``, and what that is."""
    Options: ClassVar[type[PublishedOptions]] = PublishedOptions

    def __init__(self, options: PublishedOptions) -> None:
        """Look at the folder, or for the library; CorpusError or CorpusUnavailableError says what is missing."""
        self.options = options
        given = {key: value for key in ("dataset", "revision") if (value := getattr(options, key))}
        self.published = replace(self.source, **given)
        self._mend = f"read such documents from a folder: data.options.path=FOLDER, for instance {self.sample}"
        self._local = self.local(options.path) if options.path is not None else None
        if self._local is None:
            ensure_library(self.name, self._mend)

    @abstractmethod
    def rows(self, split: Split) -> Iterator[Document]:
        """Yield the published documents of a split."""

    def local(self, path: Path) -> Corpus:
        """Return the corpus that reads a folder in place of the data set."""
        reading: dict[str, Any] = self.options.model_dump(include=set(ReadingOptions.model_fields))
        return FolderCorpus(FolderCorpus.Options(path=path, **reading))

    @property
    def criterion(self) -> str:
        """What ``wanted`` asks for, in words."""
        return "with text"

    def wanted(self, document: Document) -> bool:
        """Return True for a document that belongs to this corpus."""
        return True

    def documents(self, split: Split) -> Iterator[Document]:
        """Yield the documents of a split; of those with one name, the first."""
        check_split(split)
        found = self._local.documents(split) if self._local else self._usable(self.rows(split))
        empty = True
        for document in islice(filter(self.wanted, found), None if self._local else self._most(split)):
            empty = False
            yield document
        if empty:
            where = self.options.path or self.published.shown
            raise CorpusError(f"{where} has no {split} documents {self.criterion}: choose others, or another folder")

    def identity(self) -> str | None:
        """Return the data set, its commit and the options; None for a folder, and for a branch, which may move."""
        if self._local or self.published.is_folder or not re.fullmatch("[0-9a-f]{40}", self.published.revision):
            return None
        options = self.options.model_dump_json(exclude={"path", "dataset", "revision"})
        return f"{self.name}, {FORMAT}, of {self.published.dataset} at {self.published.revision} by {options}"

    def notice(self) -> str | None:
        """Return which documents are read."""
        if self._local:
            return self._local.notice()
        train, held_out = self._most("train"), self._most("test")
        if train is None:
            return f"{self.name}: all documents of {self.published.shown}"
        more = "data.options.documents=0 reads all"
        return f"{self.name}: the first {train} documents of {self.published.shown}, {held_out} held out; {more}"

    def stream(self, split: Split) -> Iterator[dict[str, str]]:
        """Yield the rows of the files of a split."""
        return self.published.rows(split, self._mend)

    def _most(self, split: Split) -> int | None:
        count = self.options.documents
        return (count if split == "train" else max(1, count // HELD_OUT)) if count else None

    def _usable(self, found: Iterator[Document]) -> Iterator[Document]:
        """What has a text that UTF-8 can write, and a name that did not come before."""
        names: set[str] = set()
        for document in found:
            if document.name not in names and _is_text(document.text):
                names.add(document.name)
                yield document


def _is_text(text: str) -> bool:
    """True unless it is blank, or has lone surrogates, as escapes in JSON may."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return bool(text) and not text.isspace()
