"""JoinedFolder: every folder inside of a folder is one document, its files one after the other."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from memstack import SPLITS, Corpus, CorpusError, Document, Split, check_split
from memstack.contract.errors import printable
from memstack_models.data.corpora.files import SKIP, File, UnreadableError, choose, named
from memstack_models.data.corpora.folder import FolderCorpus, ReadingOptions
from memstack_models.data.corpora.hashed import split_by_hash
from memstack_models.data.corpora.listing import list_files


class JoinedFolder(Corpus):
    """A folder of folders, below ``train/``, ``validation/`` and ``test/`` or not. A file beside them counts as one."""

    kind: ClassVar[str]
    """What one of the folders is called."""

    def __init__(self, path: Path, reading: ReadingOptions, patterns: Sequence[str]) -> None:
        """Look at the folder, as ``FolderCorpus`` does; CorpusError says what is wrong with it."""
        given: dict[str, Any] = reading.model_dump(include=set(ReadingOptions.model_fields))
        given["pattern"] = tuple(patterns)
        self._folder = FolderCorpus(FolderCorpus.Options(path=path, **given))
        self.root, self._reading, self._patterns = self._folder.root, reading, patterns
        self._left_out: dict[str, str] = {}

    @abstractmethod
    def join(self, name: str, files: Mapping[str, str]) -> str:
        """Return the text of a folder's files, given by their paths below the folder that holds them all."""

    def documents(self, split: Split) -> Iterator[Document]:
        """Yield a document per folder, sorted by name. A file is read when its folder is."""
        empty = True
        for name, files in self._groups()[check_split(split)].items():
            text = self.join(name, {file.name: text for file in files if (text := self._read(file))})
            if text.strip():
                empty = False
                yield Document(name, text)
        if empty:
            raise CorpusError(f"{printable(str(self.root))} has no {split} documents: add a {self.kind}, or set shares")

    def notice(self) -> str | None:
        """Return how it is split, and how many files are left out of what has been read."""
        counts = {split: len(groups) for split, groups in self._groups().items()}
        parts = ", ".join(f"{count} {split}" for split, count in counts.items())
        left_out: dict[str, list[str]] = {}
        for name, kind in self._left_out.items():
            left_out.setdefault(kind, []).append(name)
        told = f"{printable(str(self.root))} is read as a document per {self.kind}: {parts}"
        return f"{told}; left out of them: {named(left_out)}" if left_out else told

    def _groups(self) -> dict[Split, dict[str, list[File]]]:
        """The files of each folder, by its name, in each split."""
        if all((self.root / split).is_dir() for split in SPLITS):
            return {split: self._below(self.root / split, f"{split}/") for split in SPLITS}
        groups = self._below(self.root)
        names = split_by_hash(groups, self._reading.shares.model_dump())
        return {split: {name: groups[name] for name in names[split]} for split in SPLITS}

    def _below(self, place: Path, prefix: str = "") -> dict[str, list[File]]:
        found, groups = list_files(place, place), dict[str, list[File]]()
        for name, error in found.closed.items():
            self._leave_out(name, error)
        for file in choose(found.files, self._patterns, place):
            groups.setdefault(prefix + file.name.partition("/")[0], []).append(file)
        return dict(sorted(groups.items()))

    def _read(self, file: File) -> str:
        """A file's text, or nothing if it has none; CorpusError if it should have one."""
        try:
            return file.read(self._reading.encoding)
        except UnreadableError as error:
            if error.kind != "empty":
                self._leave_out(printable(file.name), error)
            return ""

    def _leave_out(self, name: str, error: UnreadableError) -> None:
        if self._reading.unreadable == "refuse":
            raise CorpusError(f"{error} ({SKIP} leaves such files out)") from None
        self._left_out[name] = error.kind
