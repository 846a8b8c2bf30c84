"""The corpora of this project keep the promises of corpora."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers.sample_data import SAMPLE

from memstack.testing import CorpusContract

FOLDER = Path(__file__).parent


class TestStdlib(CorpusContract):
    corpus = "python-stdlib"


class TestSplitFolder(CorpusContract):
    corpus = "folder"
    options: Mapping[str, Any] | None = {"path": str(SAMPLE / "web")}


class TestPlainFolder(CorpusContract):
    corpus = "folder"
    options: Mapping[str, Any] | None = {"path": str(FOLDER), "pattern": "*.py"}
