"""A folder of text files: one with train/, validation/ and test/, or any other, which is split by a hash of names."""

import codecs
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator

from memstack import SPLITS, Corpus, CorpusError, CorpusOptions, Document, Split, check_split
from memstack.contract.errors import printable
from memstack.plugins.config import Frozen
from memstack.plugins.paths import in_full
from memstack.plugins.placement import PLACEMENT
from memstack_models.data.config import Patterns
from memstack_models.data.corpora.files import File, UnreadableError, choose, named, unreadable
from memstack_models.data.corpora.hashed import split_by_hash
from memstack_models.data.corpora.listing import list_files

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
        # A sum that is no number, or too large for one, divides nothing either.
        if not min(shares.values()) >= 0 or not 0 < sum(shares.values()) < math.inf:
            raise ValueError(f"shares should be 0 or more, and not all 0; got {shares}")
        return self


def _text_encoding(name: str) -> str:
    try:
        b"  ".decode(name)
    except UnicodeError:  # two spaces are no text of it, but it is an encoding
        pass
    except (LookupError, ValueError):
        raise ValueError(f"encoding should be one that Python knows, such as utf-8 or latin-1; got {name!r}") from None
    return codecs.lookup(name).name


class ReadingOptions(CorpusOptions):
    """How a folder is read, whatever lies in it."""

    pattern: Patterns = ()
    """Which files are read, such as ``*.tex``: by their names, or paths if it has a slash. None is all of them."""
    shares: Shares = Shares()
    """How it is divided if it has no ``train/``, ``validation/`` and ``test/``."""
    encoding: Annotated[str, AfterValidator(_text_encoding)] = "utf-8"
    """Of all the files, such as ``latin-1``."""
    unreadable: Literal["refuse", "skip"] = "refuse"
    """What a file does that holds no text: end the reading, or be left out and named in a note."""


class FolderCorpus(Corpus):
    """Every file of a folder, at any depth, plain or gzip, is one document of text.

    A document's name is its file's path below the folder, without ``.gz``. What is hidden, and folders that are linked,
    are left out, which ``notice`` says.
    """

    class Options(ReadingOptions):
        path: Annotated[Path, PLACEMENT]
        """The folder; a relative path starts at the current directory."""

    def __init__(self, options: Options) -> None:
        """Look at the folder; CorpusError if there is none, or if it has only some of the split folders."""
        self.root = _expanded(options.path)
        self._options = options
        self._left_out: dict[str, str] = {}
        if not self.root.is_dir():
            what = "is a file, not a folder" if self.root.exists() else "is no folder"
            raise CorpusError(f"{self._shown} {what}: name one that holds UTF-8 text files")
        there = [split for split in SPLITS if (self.root / split).is_dir()]
        self._has_splits = bool(there)
        if there and (absent := [split for split in SPLITS if split not in there]):
            root = Path(self._shown)
            raise CorpusError(
                f"{root} has no folder {_folders(absent)} beside {_folders(there)}: put its {absent[0]} documents,"
                f" UTF-8 text files, into {root / absent[0]}; or name {root / there[0]}, which is then split"
            )

    def documents(self, split: Split) -> Iterator[Document]:
        """Yield the documents of a split, sorted by name.

        The first file that cannot be read ends the reading, and the CorpusError names all there are in the split. Of
        the train split it names those of the others as well: better before a training than after it.
        """
        bad = self._closed(check_split(split))
        for file in self._files(split):
            try:
                text = file.read(self._options.encoding)
            except UnreadableError as error:
                self._leave_out(file, error, bad)
                continue
            if not bad:
                yield Document(file.name, text)
        if split == "train":
            bad += self._held_out_problems()
        if bad:
            raise CorpusError(unreadable(bad, LISTED))

    def notice(self) -> str | None:
        """Return a line that says how a folder without split folders was split, and what was left out of it."""
        parts = [] if self._has_splits else [self._how_split()]
        left_out: dict[str, list[str]] = {}
        for place in self._places():
            found = list_files(self.root, place)
            for kind, names in found.left_out.items():
                left_out.setdefault(kind, []).extend(names)
            self._left_out |= {name: error.kind for name, error in found.closed.items()}
        for name, kind in self._left_out.items():
            left_out.setdefault(kind, []).append(name)
        parts += [f"left out of {self._shown}: {named(left_out)}"] if left_out else []
        return "; ".join(parts) or None

    def _how_split(self) -> str:
        counts: dict[Split, int] = {split: len(files) for split, files in self._split().items()}
        total, none = sum(counts.values()), f"{self._shown} has no {_folders(SPLITS)}"
        if max(counts.values()) == total and self._shared(*counts) < 2:
            return f"{none}: all {total} documents are read as {max(counts, key=lambda split: counts[split])}"
        parts = ", ".join(f"{count} {split}" for split, count in counts.items())
        told = f"{none}: its {total} documents are split by a hash of their names, {parts}"
        lacking = [split for split, count in counts.items() if not count and self._shared(split)]
        then = ": memstack eval will need --data" if "test" in lacking else ""
        return f"{told}; there are none for {' and '.join(lacking)}{then}" if lacking else told

    @property
    def _shown(self) -> str:
        return printable(str(self.root))

    def _shared(self, *splits: Split) -> int:
        """How many of these splits are to have documents."""
        return sum(self._options.shares.model_dump()[split] > 0 for split in splits)

    def _places(self) -> list[Path]:
        return [self.root / split for split in SPLITS] if self._has_splits else [self.root]

    def _closed(self, split: Split) -> list[UnreadableError]:
        """The folders that cannot be listed, unless they are to be left out."""
        place = self.root / split if self._has_splits else self.root
        closed = list_files(self.root, place).closed.values()
        return [] if self._options.unreadable == "skip" else list(closed)

    def _leave_out(self, file: File, error: UnreadableError, bad: list[UnreadableError]) -> None:
        if self._options.unreadable == "skip":
            self._left_out[printable(file.path.relative_to(self.root).as_posix())] = error.kind
        else:
            bad.append(error)

    def _held_out_problems(self) -> list[UnreadableError]:
        """Read the other splits; CorpusError if one of their folders holds no documents."""
        bad: list[UnreadableError] = []
        for split in SPLITS[1:]:
            bad += self._closed(split) if self._has_splits else []
            for file in self._files(split) if self._has_splits else self._split()[split]:
                try:
                    file.read(self._options.encoding)
                except UnreadableError as error:
                    self._leave_out(file, error, bad)
        return bad

    def _files(self, split: Split) -> list[File]:
        if self._has_splits:
            return self._below(self.root / split)
        files = self._split()[split]
        if not files:
            count = sum(map(len, self._split().values()))
            raise CorpusError(
                f"{self._shown} has {count} document{'s' if count > 1 else ''}, too few for a {split} split: add some, "
                f"make {_folders(SPLITS)} yourself, or set data.options.shares"
            )
        return files

    def _split(self) -> dict[Split, list[File]]:
        files, shares = {file.name: file for file in self._below(self.root)}, self._options.shares.model_dump()
        return {split: [files[name] for name in names] for split, names in split_by_hash(files, shares).items()}

    def _below(self, folder: Path) -> list[File]:
        """The files of a folder that the pattern chooses, sorted by name; CorpusError if there are none."""
        files = choose(list_files(self.root, folder).files, self._options.pattern, folder)
        names = [file.name for file in files]
        if twice := next((name for name, after in pairwise(names) if name == after), None):
            raise CorpusError(f"two documents are called {printable(twice)}, plain and as .gz: take one of them out")
        return files


def _expanded(path: Path) -> Path:
    """The path without a ``~`` and looked at; CorpusError if that cannot be."""
    try:
        expanded = in_full(path, "data.options.path")
        expanded.exists()
    except OSError as error:
        why = error.strerror
        raise CorpusError(f"{printable(str(path))[:200]} cannot be looked at ({why}): name a folder that can") from None
    return expanded


def _folders(splits: Sequence[str]) -> str:
    *first, last = [f"{split}/" for split in splits]
    return f"{', '.join(first)} and {last}" if first else last
