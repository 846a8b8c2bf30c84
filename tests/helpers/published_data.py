"""Small copies of public data sets: files, columns and splits as they are published, for what streams them."""

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PUBLISHED_SPLITS = ("train", "validation", "test")
WORDS = "of the memory that a model keeps, and what it finds in it again "


def pg19(root: Path, books: int = 3) -> Path:
    """Books in Parquet, one file a split."""
    for split in PUBLISHED_SPLITS:
        rows = [
            {
                "short_book_title": f"Book {split} {number}",
                "publication_date": 1900 + number,
                "url": f"http://www.gutenberg.org/ebooks/{len(split)}{number}",
                "text": f"{split} book {number} {WORDS}\n",
            }
            for number in range(books)
        ]
        _parquet(root / "data" / f"{split}-00000-of-00001-29a5.parquet", rows)
    return root


def proof_pile(root: Path) -> Path:
    """Lines of JSON in gzip; what is said about a file differs from row to row, and entries are scattered."""
    for split in ("train", "dev", "test"):
        rows: list[dict[str, Any]] = [
            {"text": f"\\section{{{split} {n}}} {WORDS}", "meta": {"config": "arxiv", "file": f"{split}.{n}/v1 a.tex"}}
            for n in range(3)
        ]
        rows.insert(1, {"text": "a question", "meta": {"config": "stack-exchange", "question_score": {"up": 1}}})
        rows += [_theory(entry, name) for entry, name in _THEORIES[split]]
        name = f"proofpile_{split}_0.jsonl.gz" if split == "train" else f"proofpile_{split}.jsonl.gz"
        write_lines(root / split / name, rows)
    return root


def c4(root: Path, long: int = 12) -> Path:
    """Pages in gzipped lines of JSON, few of them long; train and validation only."""
    for split, part in (("train", "00000-of-01024"), ("validation", "00000-of-00008")):
        rows = [_page(f"https://{split}.example/{n}", n % 2 == 0) for n in range(2 * long)]
        write_lines(root / "en" / f"c4-{split}.{part}.json.gz", rows)
    return root


def github(root: Path, repositories: int = 100) -> Path:
    """Files in Parquet, those of a repository scattered; a train split only."""
    paths = ("setup.py", "src/b.c", "src/a.c", "README.md")
    rows = [
        {"code": f"/* {path} of {n} */ {WORDS}", "repo_name": f"someone/project-{n}", "path": path, "license": "mit"}
        for path in paths
        for n in range(repositories)
    ]
    _parquet(root / "data" / "train-00000-of-00880.parquet", rows)
    return root


_THEORIES = {
    "train": [("Alpha", "Zero"), ("Beta", "Only"), ("Gamma", "Only")],
    "dev": [("Alpha", "Main_Result"), ("Delta", "Only")],
    "test": [("Alpha", "Base"), ("Epsilon", "Only")],
}
IMPORTS = {"Zero": "Main", "Base": "Zero", "Main_Result": "Base"}


def _theory(entry: str, name: str) -> dict[str, Any]:
    text = f"theory {name} imports {IMPORTS.get(name, 'Main')} begin\nlemma {entry.lower()}: True\nend\n"
    return {"text": text, "meta": {"subset_name": "curated", "file": f"formal/afp/{entry}/{name}.thy"}}


def _page(url: str, long: bool) -> dict[str, Any]:
    text = f"The page {url}. " + WORDS * (400 if long else 40)
    return {"text": text, "timestamp": "2019-04-25T12:57:54Z", "url": url}


def _parquet(path: Path, rows: list[Mapping[str, Any]] | list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Objects as JSON, one a line, in gzip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0))
