"""What the kit keeps of a document that it has read, and what other processes read and import."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from memstack.contract.corpus import SPLITS, Document
from memstack.plugins.specs import CorpusOptions, import_target

TELL = "import sys; from memstack.testing.reading import tell; tell(*sys.argv[1:])"
LIST = """
import sys, memstack
before = set(sys.modules)
memstack.corpora()
print(*sorted({*sys.argv[1:]} & (set(sys.modules) - before)))
"""


@dataclass(frozen=True)
class Seen:
    """What is kept of a document, so that any number of them fits into memory."""

    name: str
    text: str
    """SHA-256 of the text."""
    problem: str
    """What is wrong with name or text, in one line; empty if nothing is."""

    @classmethod
    def of(cls, document: Document) -> "Seen":
        """Look at a document."""
        text = hashlib.sha256(document.text.encode(errors="surrogatepass")).hexdigest()
        return cls(document.name, text, _problem(document))


def digest(documents: Iterable[Seen]) -> str:
    """SHA-256 over names and texts, in their order, as 64 hex digits."""
    total = hashlib.sha256()
    for document in documents:
        total.update(repr((document.name, document.text)).encode(errors="surrogatepass"))
    return total.hexdigest()


def elsewhere(target: str, options: Mapping[str, Any], limit: int) -> str:
    """Return the digest of all splits as a process with other string hashes reads them; AssertionError if it fails."""
    return _run(TELL, target, json.dumps(dict(options), default=str), str(limit))


def imported_by_listing(modules: Sequence[str]) -> str:
    """Return which of the modules a process that lists all corpora imports, beyond what memstack itself does."""
    return _run(LIST, *modules)


def tell(target: str, options: str, limit: str) -> None:
    """Print the digest of all splits: what ``elsewhere`` runs."""
    build = import_target(target)
    model: type[CorpusOptions] = getattr(build, "Options", CorpusOptions)
    corpus = build(model.model_validate(json.loads(options)))
    documents = chain.from_iterable(islice(corpus.documents(split), int(limit)) for split in SPLITS)
    sys.stdout.write(digest(map(Seen.of, documents)) + "\n")


def _run(code: str, *arguments: str) -> str:
    """What code prints in a process that finds the same modules; AssertionError if it fails."""
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    line = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"another process fails: {' '.join(done.stderr.strip().splitlines()[-1:])}")
    return done.stdout.strip()


def _problem(document: Document) -> str:
    """What is wrong with a document; a corpus may have put anything into it."""
    if not document.name.strip():
        return "a document has a blank name"
    try:
        document.text.encode()
    except UnicodeEncodeError as error:
        return f"the text of {document.name!r} has a lone surrogate at character {error.start}: UTF-8 cannot write it"
    return "" if document.text.strip() else f"the text of {document.name!r} is blank"
