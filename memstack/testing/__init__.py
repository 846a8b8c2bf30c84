"""The conformance kit: what memory backends and corpora promise, tested with or without pytest."""

from memstack.testing.contract import MemoryContract
from memstack.testing.corpus_contract import CorpusContract
from memstack.testing.oracle import Oracle
from memstack.testing.runner import PromiseResult, Report, check_corpus, check_memory, promises
from memstack.testing.thorough import check_thoroughly
from memstack.testing.wrapping import check_wrapper

__all__ = [
    "CorpusContract",
    "MemoryContract",
    "Oracle",
    "PromiseResult",
    "Report",
    "check_corpus",
    "check_memory",
    "check_thoroughly",
    "check_wrapper",
    "promises",
]
