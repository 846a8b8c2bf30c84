"""A folder of text files: one with train/, validation/ and test/, or any other, which is split by a hash of names."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import model_validator

from memstack import SPLITS, Corpus, CorpusError, CorpusOptions, Document, Split, check_split
from memstack.plugins.config import Frozen
from memstack.plugins.placement import PLACEMENT
from memstack_models.data.config import Patterns
from memstack_models.data.corpora.files import File, choose, list_files, unreadable
from memstack_models.data.corpora.hashed import split_by_hash

LISTED = 20
"""So many files that cannot be read are named; the others are counted."""


class Shares(Frozen):
    """How the documents of a folder without split folders are divided: parts of the whole, in any unit."""

    train: float = 90
    validation: float = 5
    test: float = 5

    @model_validator(mode="after")
    def _check(self) -> "Shares":
        shares = self.model_dump()
        if min(shares.values()) < 0 or not sum(shares.values()):
            raise ValueError(f"shares should be 0 or more, and not all 0; got {shares}")
        return self


class FolderCorpus(Corpus):
    """Every file of a folder, at any depth, plain or ``.gz``, is one document of UTF-8 text; hidden ones are ignored.

    A document's name is its file's path below the folder, without ``.gz``.
    """

    class Options(CorpusOptions):
        path: Annotated[Path, PLACEMENT]
        """The folder; a relative path starts at the current directory."""
        pattern: Patterns = ()
        """Which files are read, such as ``*.tex``: by their names, or paths if it has a slash. None is all of them."""
        shares: Shares = Shares()
        """How it is divided if it has no ``train/``, ``validation/`` and ``test/``."""

    def __init__(self, options: Options) -> None:
        """Look at the folder; CorpusError if there is none, or if it has only some of the split folders."""
        self.root = options.path.expanduser()
        self._options = options
        if not self.root.is_dir():
            what = "is a file, not a folder" if self.root.exists() else "is no folder"
            raise CorpusError(f"{self.root} {what}: name one that holds UTF-8 text files")
        there = [split for split in SPLITS if (self.root / split).is_dir()]
        self._has_splits = bool(there)
        if there and (absent := [split for split in SPLITS if split not in there]):
            raise CorpusError(
                f"{self.root} has no folder {_folders(absent)} beside {_folders(there)}: put its {absent[0]} documents,"
                f" UTF-8 text files, into {self.root / absent[0]}; or name {self.root / there[0]}, which is then split"
            )

    def documents(self, split: Split) -> Iterator[Document]:
        """Yield the documents of a split, sorted by name.

        The first file that cannot be read ends the reading, and the CorpusError names all there are in the split.
        """
        bad: list[str] = []
        for file in self._files(check_split(split)):
            text, problem = file.read()
            if problem:
                bad.append(problem)
            elif not bad:
                yield Document(file.name, text)
        if bad:
            raise CorpusError(unreadable(bad, LISTED))

    def notice(self) -> str | None:
        """Return a line that says how a folder without split folders was split."""
        if self._has_splits:
            return None
        counts = {split: len(files) for split, files in self._split().items()}
        total, none = sum(counts.values()), f"{self.root} has no {_folders(SPLITS)}"
        if max(counts.values()) == total:
            return f"{none}: all {total} documents are read as {max(counts, key=lambda split: counts[split])}"
        parts = ", ".join(f"{count} {split}" for split, count in counts.items())
        return f"{none}: its {total} documents are split by a hash of their names, {parts}"

    @property
    def _shares(self) -> dict[str, float]:
        return self._options.shares.model_dump()

    def _files(self, split: Split) -> list[File]:
        if self._has_splits:
            return self._below(self.root / split)
        files = self._split()[split]
        if not files:
            count = sum(map(len, self._split().values()))
            raise CorpusError(
                f"{self.root} has {count} document{'s' if count > 1 else ''}, too few for a {split} split: add some, "
                f"make {_folders(SPLITS)} yourself, or set data.options.shares"
            )
        return files

    def _split(self) -> dict[Split, list[File]]:
        files = {file.name: file for file in self._below(self.root)}
        return {split: [files[name] for name in names] for split, names in split_by_hash(files, self._shares).items()}

    def _below(self, folder: Path) -> list[File]:
        """The files of a folder that the pattern chooses, sorted by name; CorpusError if there are none."""
        files = choose(list_files(self.root, folder), self._options.pattern, folder)
        names = [file.name for file in files]
        if twice := next((name for name, after in pairwise(names) if name == after), None):
            raise CorpusError(f"two documents are called {twice}, plain and as .gz: take one of them out")
        return files


def _folders(splits: Sequence[str]) -> str:
    *first, last = [f"{split}/" for split in splits]
    return f"{', '.join(first)} and {last}" if first else last
