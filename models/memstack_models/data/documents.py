"""Documents and their splits: the Python standard library, or a folder of text files."""

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from memstack.contract.errors import did_you_mean
from memstack_models.data import stdlib
from memstack_models.data.errors import CorpusError

Split = Literal["train", "validation", "test"]
STDLIB = "python-stdlib"


@dataclass(frozen=True)
class Document:
    """One text, read from its start to its end; never empty."""

    name: str
    text: str


def load_documents(source: str, split: Split) -> tuple[Document, ...]:
    """Return the documents of a split, sorted by name.

    ``source`` is ``python-stdlib``, the standard library of the running interpreter, or a folder with ``train/``,
    ``validation/`` and ``test/``: every file in them, at any depth, plain or ``.gz``, is one document of UTF-8 text.
    Hidden files are ignored; a relative path starts at the current directory. CorpusError if something is not so.
    """
    if source == STDLIB:
        documents = [Document(name, text) for name, text in stdlib.read(split)]
    else:
        folder = _split_folder(source, split)
        documents = [Document(_name(folder, path), _read(path)) for path in _files(folder)]
    if not documents:
        raise CorpusError(f"this interpreter comes without its library's source, so {STDLIB} has no {split} documents")
    return tuple(_distinct(sorted(documents, key=lambda document: document.name)))


def fingerprint(documents: Iterable[Document]) -> str:
    """SHA-256 over names and texts, in their order, as 64 hex digits."""
    total = hashlib.sha256()
    for document in documents:
        for part in (document.name.encode(errors="surrogateescape"), document.text.encode()):
            total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()


def _split_folder(source: str, split: Split) -> Path:
    root = Path(source).expanduser()
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "is no folder"
        hint = did_you_mean(source, [STDLIB])
        raise CorpusError(f"corpus {source!r} {what}{hint} (built in: {STDLIB}; or name a folder of texts)")
    if not (root / split).is_dir():
        raise CorpusError(
            f"{root} has no folder {split}/: put its {split} documents, UTF-8 text files, into {root / split}"
        )
    return root / split


def _files(folder: Path) -> list[Path]:
    """All files below the folder that are not hidden; CorpusError if there are none."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not _hidden(path.relative_to(folder))]
    if not paths:
        raise CorpusError(f"{folder} holds no documents: put UTF-8 text files into it, plain or .gz")
    return paths


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix().removesuffix(".gz")


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        text = content.decode()
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path} is not UTF-8 at byte {error.start}: convert it, or take it out of the folder"
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorpusError(f"{path} is not a sound gzip file ({error}): compress it again, or take it out") from None
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror}): make it readable, or take it out") from None
    if not text.strip():
        raise CorpusError(f"{path} is empty: fill it, or take it out of the folder")
    return text


def _distinct(documents: Iterable[Document]) -> Iterator[Document]:
    """The sorted documents; CorpusError if two share a name, such as a text and its compressed copy."""
    last = None
    for document in documents:
        if document.name == last:
            raise CorpusError(f"two documents are called {last}, plain and as .gz: take one of them out")
        last = document.name
        yield document
