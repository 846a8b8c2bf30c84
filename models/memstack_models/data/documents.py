"""From a ``[data]`` section to its corpus, and from a corpus to the documents of a split."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memstack import (
    SPLITS,
    ConfigError,
    Corpus,
    CorpusError,
    Document,
    Split,
    UnknownCorpusError,
    corpora,
    create_corpus,
)
from memstack.contract.errors import printable
from memstack.plugins.paths import in_full
from memstack_models.data.config import DataConfig

FOLDER = "folder"
"""The corpus that reads what is named by its path."""
KEPT = ("encoding", "unreadable", "pattern")
"""Options that say how any folder is read, also another one."""


def corpus_of(data: DataConfig) -> Corpus:
    """Build the corpus of a ``[data]`` section: the one registered under its name, or the folder there.

    A registered name goes before a folder of that name, which is still to be had as ``./NAME``. Raises what
    ``memstack.create_corpus`` does.
    """
    options: dict[str, Any] = data.options | ({"pattern": data.pattern} if data.pattern else {})
    if folder := _folder(data.corpus):
        if "path" in options:
            raise ConfigError(f"data.corpus is the folder {folder}, so data.options.path has to go: it is that folder")
        return create_corpus(FOLDER, path=folder, **options)
    try:
        return create_corpus(data.corpus, **options)
    except UnknownCorpusError as error:
        raise UnknownCorpusError(
            f"corpus {data.corpus!r} is no folder, and {error}; name a folder or one of these (data.corpus, or --data)"
        ) from None


def anchored(data: DataConfig) -> DataConfig:
    """Return the section with its folder as an absolute path, for use from another folder."""
    folder = _folder(data.corpus)
    if not folder or not folder.is_dir():
        return data
    path = str(folder.resolve())
    if not _is_text(path):
        raise ConfigError(f"data.corpus is {printable(path)}, which no configuration can hold: give it a name in UTF-8")
    return data.model_copy(update={"corpus": path})


def replaced(data: DataConfig, source: str, split: Split) -> DataConfig:
    """Return the section with another corpus in place of its own; of a folder without splits, ``split`` is all."""
    if folder := _folder(source):
        own = data.corpus == FOLDER or data.corpus not in _registered()
        options = {name: data.options[name] for name in KEPT if own and name in data.options}
        kept = {"corpus": str(folder), "pattern": data.pattern if own else ()}
        return data.model_copy(update=kept | {"options": options | {"shares": whole(split)}})
    return data.model_copy(update={"corpus": source, "pattern": (), "options": {}})


def shared(data: DataConfig) -> DataConfig:
    """Return the section as it may be shown to anybody: of paths the last part alone, below whatever folder it is."""
    options = {name: last_part(value) for name, value in data.options.items()}
    return data.model_copy(update={"corpus": last_part(data.corpus), "options": options})


def whole(split: Split) -> dict[str, float]:
    """Return the shares that give a split everything."""
    return {each: float(each == split) for each in SPLITS}


@dataclass(frozen=True)
class SplitDocuments:
    """The documents of a split, in the corpus's order, read anew by each iteration: never all of them in memory.

    An iteration raises CorpusError if there are none.
    """

    corpus: Corpus
    split: Split

    def __iter__(self) -> Iterator[Document]:
        empty = True
        for document in self.corpus.documents(self.split):
            empty = False
            yield document
        if empty:
            raise CorpusError(f"the corpus has no {self.split} documents: choose another one, or another split")

    @property
    def identity(self) -> str | None:
        """What tells them from all others without reading them, if anything does."""
        known = self.corpus.identity()
        return None if known is None else f"{self.split} of {known}"


def fingerprint(documents: Iterable[Document]) -> str:
    """SHA-256 over names and texts, in their order, as 64 hex digits."""
    total = Fingerprint()
    for document in documents:
        total.add(document)
    return total.hexdigest()


class Fingerprint:
    """SHA-256 over names and texts, in the order in which they are added."""

    def __init__(self) -> None:
        self._total = hashlib.sha256()

    def add(self, document: Document) -> None:
        """Go on with a document; of its text, a part at a time is encoded."""
        name, text = document.name.encode(errors="surrogateescape"), document.text
        self._total.update(len(name).to_bytes(8, "big") + name)
        self._total.update(sum(len(part) for part in _encoded(text)).to_bytes(8, "big"))
        for part in _encoded(text):
            self._total.update(part)

    def hexdigest(self) -> str:
        """Return the digest so far, as 64 hex digits."""
        return self._total.hexdigest()


def _encoded(text: str, length: int = 1 << 20) -> Iterator[bytes]:
    return (text[start : start + length].encode() for start in range(0, len(text), length))


def _folder(source: str) -> Path | None:
    """The path, if it is one and no corpus is registered under that name. It may be a file, which is refused."""
    if source in _registered():
        return None
    try:
        path = in_full(source, "data.corpus")
        return path if path.exists() else None
    except OSError as error:
        raise ConfigError(
            f"data.corpus {printable(source)[:200]} cannot be looked at ({error.strerror}): name a corpus or a folder"
        ) from None


def _registered() -> set[str]:
    return {spec.name for spec in corpora()}


def last_part(value: Any) -> Any:
    """Return an absolute path, or one from home, as the name that it ends in; what is none, as it is."""
    if isinstance(value, dict):
        return {name: last_part(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(last_part, value))
    if not isinstance(value, str | Path) or not str(value).startswith(("/", "~")):
        return value
    path = Path(os.path.expanduser(value))
    return "./texts" if path == Path(os.path.expanduser("~")) else f"./{path.name}"


def _is_text(name: str) -> bool:
    """True for a name in UTF-8; other bytes in it are lone surrogates, as the file system gives them."""
    return not any("\ud800" <= each <= "\udfff" for each in name)
