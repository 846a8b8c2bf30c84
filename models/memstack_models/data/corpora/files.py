"""Text files: which of a folder's are meant, and what is wrong with one that cannot be read."""

import gzip
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from memstack import CorpusError


@dataclass(frozen=True)
class File:
    """One document's file, plain or compressed."""

    path: Path
    name: str
    """The path below the corpus's folder, without ``.gz``."""

    def read(self) -> tuple[str, str]:
        """Return the text and an empty string; or an empty text, and what is wrong in one line with the mend."""
        try:
            content = self.path.read_bytes()
            text = (gzip.decompress(content) if self.path.suffix == ".gz" else content).decode()
        except UnicodeDecodeError as error:
            return "", f"{self.path} is not UTF-8 at byte {error.start}: convert it, or take it out of the folder"
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            return "", f"{self.path} is not a sound gzip file ({error}): compress it again, or take it out"
        except OSError as error:
            return "", f"{self.path} cannot be read ({error.strerror}): make it readable, or take it out"
        return (text, "") if text.strip() else ("", f"{self.path} is empty: fill it, or take it out of the folder")


def list_files(root: Path, folder: Path) -> list[File]:
    """Return all files below the folder that are not hidden, sorted by their names below the root."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not _hidden(path.relative_to(folder))]
    files = [File(path, path.relative_to(root).as_posix().removesuffix(".gz")) for path in paths]
    return sorted(files, key=lambda file: (file.name, file.path))


def choose(files: Sequence[File], patterns: Sequence[str], folder: Path) -> list[File]:
    """Return the files that one of the patterns matches, or all without a pattern; CorpusError if there are none."""
    if not files:
        raise CorpusError(f"{folder} holds no documents: put UTF-8 text files into it, plain or .gz")
    chosen = [file for file in files if not patterns or any(_matches(file.name, pattern) for pattern in patterns)]
    if not chosen:
        raise CorpusError(f"no file in {folder} matches data.pattern {', '.join(patterns)}: there are {_kinds(files)}")
    return chosen


def unreadable(problems: Sequence[str], listed: int) -> str:
    """Return one line about all files that cannot be read, of which so many are listed."""
    if len(problems) == 1:
        return f"{problems[0]} (data.pattern chooses files, such as *.txt)"
    more = f"; and {len(problems) - listed} more" if len(problems) > listed else ""
    return (
        f"{len(problems)} files cannot be read; data.pattern chooses files, such as *.txt. "
        f"{'; '.join(problems[:listed])}{more}"
    )


def _matches(name: str, pattern: str) -> bool:
    """A pattern with a slash is about the whole path below the corpus's folder, one without about the file's name."""
    return fnmatchcase(name if "/" in pattern else PurePosixPath(name).name, pattern)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _kinds(files: Sequence[File]) -> str:
    """How many files there are of each suffix, the most first, as patterns."""
    counts = Counter(f"*{PurePosixPath(file.name).suffix}" if "." in file.name else "*" for file in files)
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common(8))
