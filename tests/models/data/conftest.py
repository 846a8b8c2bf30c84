"""Small folders of text files."""

from pathlib import Path

import pytest

from memstack import SPLITS


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with one sound document per split."""
    for split in SPLITS:
        (tmp_path / "corpus" / split).mkdir(parents=True)
        (tmp_path / "corpus" / split / "one.txt").write_text(f"the {split} document\n")
    return tmp_path / "corpus"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A folder of twenty documents and no split folders."""
    (tmp_path / "plain" / "deep").mkdir(parents=True)
    for number in range(20):
        place = tmp_path / "plain" / ("deep" if number % 2 else ".")
        (place / f"{number}.txt").write_text(f"document {number}\n")
    return tmp_path / "plain"
