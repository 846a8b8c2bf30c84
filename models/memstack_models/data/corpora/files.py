"""Text files: what a file holds, which of a folder's are meant, and what is wrong with one that cannot be read."""

import codecs
import gzip
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from memstack import CorpusError
from memstack.contract.errors import printable

GZIP = b"\x1f\x8b"
"""What a gzip file begins with, under whatever name."""
UTF16 = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE
MARK = "\ufeff"
"""The byte order mark, read as a character."""
NAMED = 3
"""So many of a kind are named where others are counted."""
SKIP = "data.options.unreadable=skip"


class UnreadableError(Exception):
    """A file is no document: of which kind of mistake, and what is wrong in one line with the mend."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class File:
    """One document's file, plain or compressed."""

    path: Path
    name: str
    """The path below the corpus's folder, without ``.gz``."""

    def read(self, encoding: str = "utf-8") -> str:
        """Return the text, without a byte order mark; UnreadableError if there is none."""
        shown = printable(str(self.path))
        try:
            text = _decoded(self._content(), encoding)
        except UnicodeDecodeError as error:
            raise _undecodable(shown, error, encoding) from None
        except UnicodeError as error:
            reason = f"{shown} is not {encoding.upper()} ({error}): convert it, or take it out of the folder"
            raise UnreadableError(f"not {encoding.upper()}", reason) from None
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            reason = f"{shown} is not a sound gzip file ({error}): compress it again, or take it out"
            raise UnreadableError("damaged gzip", reason) from None
        except (OSError, MemoryError) as error:
            why = getattr(error, "strerror", None) or "it is larger than memory"
            reason = f"{shown} cannot be read ({why}): make it readable, or take it out"
            raise UnreadableError("unreadable", reason) from None
        if not text or text.isspace():  # stripped, a long text would be there twice
            raise UnreadableError("empty", f"{shown} is empty: fill it, or take it out of the folder")
        if (place := text.find("\0")) >= 0:
            raise UnreadableError("binary", f"{shown} is binary, it has a zero at character {place}: take it out")
        return text

    def _content(self) -> bytes:
        content = self.path.read_bytes()
        compressed = content.startswith(GZIP) or (content and self.path.suffix.lower() == ".gz")
        return gzip.decompress(content) if compressed else content


def named(counts: Mapping[str, Sequence[str]]) -> str:
    """Return how many there are of each kind, and the first few by name: ``2 empty (a, b), 9 binary (c, d, ...)``."""
    parts = {kind: ", ".join([*names[:NAMED], *["..."] * (len(names) > NAMED)]) for kind, names in counts.items()}
    return ", ".join(f"{len(counts[kind])} {kind} ({part})" for kind, part in parts.items())


def matches(path: str, patterns: Sequence[str]) -> bool:
    """Return True if one of the patterns matches, or there is none.

    One with a slash is about the whole path below the corpus's folder, one without about the file's name.
    """
    name = PurePosixPath(path).name
    return not patterns or any(fnmatchcase(path if "/" in pattern else name, pattern) for pattern in patterns)


def choose(files: Sequence[File], patterns: Sequence[str], folder: Path) -> list[File]:
    """Return the files that one of the patterns matches, or all without a pattern; CorpusError if there are none."""
    if not files:
        shown = printable(str(folder))
        raise CorpusError(f"{shown} holds no documents: put UTF-8 text files into it, plain or .gz")
    chosen = [file for file in files if matches(file.name, patterns)]
    if not chosen:
        shown = printable(str(folder))
        raise CorpusError(f"no file in {shown} matches data.pattern {', '.join(patterns)}: there are {_kinds(files)}")
    return chosen


def unreadable(problems: Sequence[UnreadableError], listed: int) -> str:
    """Return one line about all files that cannot be read, of which so many are listed."""
    if len(problems) == 1:
        return f"{problems[0]} (data.pattern chooses files, such as *.txt; {SKIP} leaves this one out)"
    more = f"; and {len(problems) - listed} more" if len(problems) > listed else ""
    counts = Counter(problem.kind for problem in problems)
    return (
        f"{len(problems)} files cannot be read; data.pattern chooses files, such as *.txt. {SKIP} leaves out what "
        f"cannot be read: {', '.join(f'{count} {kind}' for kind, count in counts.most_common())}. "
        f"{'; '.join(map(str, problems[:listed]))}{more}"
    )


def _decoded(content: bytes, encoding: str) -> str:
    if encoding == "utf-8":
        return content.decode().removeprefix(MARK)
    text = content.decode(encoding).removeprefix(MARK)
    text.encode()  # a lone surrogate, as UTF-7 may hold, can be written nowhere
    return text


def _undecodable(shown: str, error: UnicodeDecodeError, encoding: str) -> UnreadableError:
    title, begin = encoding.upper(), error.object[:2]
    if encoding == "utf-8" and begin in UTF16:
        reason = f"{shown} is UTF-16: convert it, or read all with data.options.encoding=utf-16"
        return UnreadableError("UTF-16", reason)
    if b"\0" in error.object and not encoding.startswith("utf-16"):
        return UnreadableError("binary", f"{shown} is binary, not {title}: take it out of the folder")
    reason = f"{shown} is not {title} at byte {error.start}: convert it, or take it out of the folder"
    return UnreadableError(f"not {title}", reason)


def _kinds(files: Sequence[File]) -> str:
    """How many files there are of each suffix, the most first, as patterns."""
    counts = Counter(f"*{PurePosixPath(file.name).suffix}" if "." in file.name else "*" for file in files)
    return ", ".join(f"{count} {printable(kind)}" for kind, count in counts.most_common(8))
