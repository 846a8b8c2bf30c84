"""The sample of real documents: complete, small, reproducible byte by byte, and each document's licence is there."""

import gzip
import hashlib
import re
from pathlib import Path

import pytest
from helpers.sample_data import KINDS, SAMPLE, index

from memstack import SPLITS

LICENCES = {  # what the index says -> what the README links to
    "CC BY 4.0": "CC-BY-4.0.md",
    "Apache-2.0": "Apache-2.0.txt",
    "BSD (AFP)": "AFP-BSD.txt",
    "MIT or Apache-2.0": "MIT-rust-rfcs.txt",
    "CC0 / public domain (US government works)": "CC0-1.0.txt",
}
FREE = ("public domain in the USA", "public domain or CC0-1.0")


def test_every_kind_has_a_long_document_in_every_split() -> None:
    records = index()
    assert {(record["kind"], record["split"]) for record in records} == {
        (kind, split) for kind in KINDS for split in SPLITS
    }
    for kind in KINDS:
        assert max(record["bytes"] for record in records if record["kind"] == kind) > 200_000


def test_the_index_is_what_lies_there() -> None:
    files = {path.relative_to(SAMPLE).as_posix(): path for path in SAMPLE.rglob("*.gz")}
    assert sorted(files) == sorted(record["file"] for record in index())
    assert sum(path.stat().st_size for path in files.values()) < 2_100_000
    for record in index():
        content = gzip.decompress(files[record["file"]].read_bytes())
        assert len(content) == record["bytes"]
        assert hashlib.sha256(content).hexdigest() == record["sha256"]
        assert content.endswith(b"\n")
        assert b"\r" not in content


def test_no_file_holds_a_time_or_a_name() -> None:
    """As ``gzip -n`` writes it: the header's flags and time are zero, so the same text gives the same bytes."""
    for path in SAMPLE.rglob("*.gz"):
        assert path.read_bytes()[3:8] == bytes(5), path


@pytest.mark.parametrize("record", index(), ids=lambda record: record["slug"])
def test_every_document_has_its_source_and_licence_in_the_readme(record: dict[str, str]) -> None:
    (line,) = re.findall(
        rf"^\| \[{record['slug']}\].*$", (SAMPLE / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert f"https://github.com/{record['repo']}/tree/{record['commit']}" in line
    free = record["licence"].startswith(FREE)
    assert "public domain" in line if free else f"LICENSES/{LICENCES[record['licence']]}" in line


def test_the_readmes_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (SAMPLE / "README.md").read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (SAMPLE / link).is_file()] == []


def test_no_test_looks_outside_the_checkout() -> None:
    """Paths start at a file's own place or at a temporary folder; none climbs out of the repository."""
    root = SAMPLE.parents[1]
    sources = sorted(path for folder in ("tests", "benchmarks") for path in (root / folder).rglob("*.py"))
    assert Path(__file__) in sources
    for path in sources:
        climbs = re.findall(r"__file__\)(?:\.resolve\(\))?\.parents\[(\d+)\]", path.read_text(encoding="utf-8"))
        assert all(int(levels) < len(path.relative_to(root).parts) for levels in climbs), path
