"""The proof-pile (Azerbayev, Ayers, Piotrowski 2022): arXiv's mathematics and libraries of proofs, file by file."""

import json
from collections.abc import Iterator
from typing import Any

from memstack import Split
from memstack_models.data.corpora.hub import Source

TRAIN, VALIDATION, TEST = (f"{name}/proofpile_{name}*.jsonl.gz" for name in ("train", "dev", "test"))


def proof_pile(files: dict[Split, tuple[str, ...]]) -> Source:
    """Return the data set with these files as splits."""
    return Source(
        dataset="hoskinson-center/proof-pile",
        revision="490b980249446f2f3bd2df3a8cf085d0f2de240a",
        # Read as lines: what is said about a file differs from row to row, which the reader of JSON objects refuses.
        builder="text",
        files=files,
        columns=("text",),
    )


def parsed(rows: Iterator[dict[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Yield the part of the pile, the path and the text of every file."""
    for row in rows:
        if row["text"].strip():
            line: dict[str, Any] = json.loads(row["text"])
            about = line.get("meta") or {}
            about = json.loads(about) if isinstance(about, str) else about
            yield str(about.get("config", "")), str(about.get("file", "")), str(line.get("text", ""))
