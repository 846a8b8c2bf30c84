"""From a ``[data]`` section to its corpus, and from a corpus to the documents of a split."""

import hashlib
from collections.abc import Iterable
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
from memstack.plugins.paths import in_full
from memstack_models.data.config import DataConfig

FOLDER = "folder"
"""The corpus that reads what is named by its path."""


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
        raise UnknownCorpusError(f"corpus {data.corpus!r} is no folder, and {error}; name one of either") from None


def anchored(data: DataConfig) -> DataConfig:
    """Return the section with its folder as an absolute path, for use from another folder."""
    folder = _folder(data.corpus)
    return data.model_copy(update={"corpus": str(folder.resolve())}) if folder and folder.is_dir() else data


def replaced(data: DataConfig, source: str, split: Split) -> DataConfig:
    """Return the section with another corpus in place of its own; of a folder without splits, ``split`` is all."""
    if folder := _folder(source):
        kept = data.pattern if _folder(data.corpus) else ()
        return data.model_copy(update={"corpus": str(folder), "pattern": kept, "options": {"shares": whole(split)}})
    return data.model_copy(update={"corpus": source, "pattern": (), "options": {}})


def whole(split: Split) -> dict[str, float]:
    """Return the shares that give a split everything."""
    return {each: float(each == split) for each in SPLITS}


def load_documents(corpus: Corpus, split: Split) -> tuple[Document, ...]:
    """Return the documents of a split, in the corpus's order; CorpusError if there are none."""
    documents = tuple(corpus.documents(split))
    if not documents:
        raise CorpusError(f"the corpus has no {split} documents: choose another one, or another split")
    return documents


def fingerprint(documents: Iterable[Document]) -> str:
    """SHA-256 over names and texts, in their order, as 64 hex digits."""
    total = hashlib.sha256()
    for document in documents:
        for part in (document.name.encode(errors="surrogateescape"), document.text.encode()):
            total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()


def _folder(source: str) -> Path | None:
    """The path, if it is one and no corpus is registered under that name. It may be a file, which is refused."""
    path = in_full(source, "data.corpus")
    return path if path.exists() and source not in {spec.name for spec in corpora()} else None
