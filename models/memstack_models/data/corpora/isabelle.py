"""The Archive of Formal Proofs: the theories of an entry, in the order of their imports, are one document."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from memstack import Corpus, Document, Split
from memstack.plugins.paths import in_full
from memstack_models.data.cached import read_cached
from memstack_models.data.corpora.hashed import split_by_hash
from memstack_models.data.corpora.joined import JoinedFolder
from memstack_models.data.corpora.proof_pile import TEST, TRAIN, VALIDATION, parsed, proof_pile
from memstack_models.data.corpora.published import PublishedCorpus
from memstack_models.data.corpora.theories import in_import_order

PATTERN = "*.thy"
EVERYTHING = (TRAIN, VALIDATION, TEST)
_PLACE = re.compile(r"(?:^|/)afp/([^/]+)/(.+\.thy)$")

Entries = dict[str, dict[str, str]]
"""Texts of theories by their paths, by entry."""


class EntryFolder(JoinedFolder):
    """Every folder is an entry of the archive."""

    kind = "entry"

    def join(self, name: str, files: Mapping[str, str]) -> str:
        """Return the theories in the order of their imports."""
        return joined(files)


class IsabelleCorpus(PublishedCorpus):
    """An entry is a document; the splits are made by a hash of entries' names: the data set splits entries apart."""

    name = "isabelle"
    source = proof_pile({"train": EVERYTHING, "validation": EVERYTHING, "test": EVERYTHING})
    sample = "examples/data/isabelle of the repository"

    def local(self, path: Path) -> Corpus:
        """Return the entries in a folder; of the whole archive, those in ``thys``. Without theories, text files."""
        root = in_full(path, "data.options.path")
        root = root / "thys" if (root / "thys").is_dir() else root
        if self.options.pattern or not any(root.glob(f"**/{PATTERN}")):
            return super().local(root)
        return EntryFolder(root, self.options, (PATTERN,))

    def rows(self, split: Split) -> Iterator[Document]:
        """Yield the entries whose names fall into the split, sorted by name.

        The data set scatters their theories, so that all of it is streamed, once: the theories, about 150 MB, are
        brought together and kept in the cache folder. Those of a copy in a folder are not kept: it may change.
        """
        place = f"{self.published.dataset}@{self.published.revision}"
        name = f"isabelle-{hashlib.sha256(place.encode()).hexdigest()}"
        if self.published.is_folder:
            entries = self._entries()
        else:
            entries = read_cached(name, lambda: json.dumps(self._entries()).encode(), _entries_of)
        for entry in split_by_hash(entries, self.options.shares.model_dump())[split]:
            yield Document(entry, joined(entries[entry]))

    def _entries(self) -> Entries:
        found: Entries = {}
        for _part, path, text in parsed(self.stream("train")):
            if place := _PLACE.search(path):
                found.setdefault(place[1], {})[f"{place[1]}/{place[2]}"] = text
        return found


def joined(theories: Mapping[str, str]) -> str:
    """Return theories by path as one text, each after those of them that it imports."""
    return "\n\n".join(theories[path].strip("\n") for path in in_import_order(theories)) + "\n"


def _entries_of(held: bytes) -> Entries:
    found = json.loads(held)
    if not isinstance(found, dict):
        raise ValueError("entries by name were expected")
    return found
