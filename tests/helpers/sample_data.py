"""The project's real long documents, and folders of text files, for tests that read them."""

import json
from pathlib import Path
from typing import Any

from memstack_models.data.documents import SplitDocuments

from memstack import Document, Split, create_corpus

SAMPLE = Path(__file__).parents[2] / "examples" / "data"
KINDS = ("books", "arxiv_math", "isabelle", "web")


def index() -> list[dict[str, Any]]:
    """What the sample says of itself: a record per document."""
    return [json.loads(line) for line in (SAMPLE / "index.jsonl").read_text(encoding="utf-8").splitlines()]


def read_folder(folder: Path, split: Split, **options: Any) -> tuple[Document, ...]:
    """The documents of one split of a folder."""
    return tuple(SplitDocuments(create_corpus("folder", path=folder, **options), split))


def read_sample(kind: str, split: Split) -> tuple[Document, ...]:
    """The real documents of one kind and split."""
    return read_folder(SAMPLE / kind, split)
