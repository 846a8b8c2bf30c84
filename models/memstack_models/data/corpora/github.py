"""Repositories of code: the files of one, folder by folder, are one document, as the paper joins them."""

import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

from memstack import Corpus, Document, Split
from memstack.plugins.bounds import Count, CountOrNone
from memstack_models.data.config import Patterns
from memstack_models.data.corpora.files import matches
from memstack_models.data.corpora.hashed import split_of
from memstack_models.data.corpora.hub import Source
from memstack_models.data.corpora.joined import JoinedFolder
from memstack_models.data.corpora.published import PublishedCorpus, PublishedOptions

LANGUAGES = ("*.py", "*.c", "*.h", "*.cc", "*.cpp", "*.hpp", "*.cxx", "*.java", "*.go", "*.ts", "*.tsx")
"""C, C++, Java, Python, Go and TypeScript."""
FILES = ("data/train-*.parquet",)


class RepositoryOptions(PublishedOptions):
    """Where the repositories come from, and what of them is read."""

    pattern: Patterns = LANGUAGES
    """Which files belong to a repository's document, by their names, or paths if a pattern has a slash."""
    unreadable: Literal["refuse", "skip"] = "skip"
    """What a file does that holds no text: end the reading, or be left out and counted in a note."""
    shortest: CountOrNone = 8192
    """Characters of a repository's document at least."""
    window: Count = 1 << 27
    """Characters of files that are held at a time to bring those of a repository together."""


class Repositories(JoinedFolder):
    """Every folder is a repository."""

    kind = "repository"

    def join(self, name: str, files: Mapping[str, str]) -> str:
        """Return the files, folder by folder, each after a comment line with its path."""
        return joined(files)


class GitHubCorpus(PublishedCorpus):
    """A repository is a document; the splits are made by a hash of repositories' names, for the data set has one."""

    name = "github"
    source = Source(
        dataset="codeparrot/github-code-clean",
        revision="c48d40f9e70f0196f8236901ee35807f7d6c44c0",
        builder="parquet",
        files={"train": FILES, "validation": FILES, "test": FILES},
        columns=("repo_name", "path", "code"),
        reading={"batch_size": 256},
    )
    sample = f"{sysconfig.get_path('purelib')}, the packages of this interpreter"
    Options = RepositoryOptions

    def __init__(self, options: RepositoryOptions) -> None:
        self._options = options
        super().__init__(options)

    def local(self, path: Path) -> Corpus:
        """Return the folders of a folder as repositories."""
        return Repositories(path, self._options, self._options.pattern)

    def rows(self, split: Split) -> Iterator[Document]:
        """Yield repositories whose names fall into the split.

        Of a repository those files are joined that lie within ``window`` characters of rows of the split.
        """
        shares = self._options.shares.model_dump()
        files = ((row["repo_name"], row["path"], row["code"]) for row in self.stream(split))
        ours = (
            file for file in files if split_of(file[0], shares) == split and matches(file[1], self._options.pattern)
        )
        for name, found in gathered(ours, self._options.window):
            yield Document(name, joined(found))

    @property
    def criterion(self) -> str:
        """What ``wanted`` asks for, in words."""
        return f"of {self._options.shortest:,} characters (data.options.shortest) or more"

    def wanted(self, document: Document) -> bool:
        """Return True for a repository that is not too small."""
        return len(document.text) >= self._options.shortest


def joined(files: Mapping[str, str]) -> str:
    """Return texts by path as one, folder by folder, each after a comment line with its path."""
    paths = sorted(files, key=lambda path: PurePosixPath(path).parts)
    return "".join(f"# {path}\n{files[path].rstrip()}\n\n" for path in paths)


def gathered(files: Iterator[tuple[str, str, str]], window: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield repositories, each once, from rows of repository, path and text; the one seen first leaves a full window.

    Files of a repository that come after it has left are dropped.
    """
    held: dict[str, dict[str, str]] = {}
    left: set[str] = set()
    size = 0
    for name, path, text in files:
        if name in left:
            continue
        size += len(text)
        held.setdefault(name, {})[path] = text
        while size > window and len(held) > 1:
            first = next(iter(held))
            left.add(first)
            size -= sum(map(len, held[first].values()))
            yield first, held.pop(first)
    yield from held.items()
