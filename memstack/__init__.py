"""memstack: long-term kNN memory for transformers, with interchangeable search backends."""

from memstack.contract.corpus import SPLITS, Corpus, Document, Split, check_split
from memstack.contract.entries import Entries, FetchedEntries
from memstack.contract.errors import (
    BackendUnavailableError,
    ConfigError,
    CorpusError,
    CorpusUnavailableError,
    DuplicateBackendError,
    DuplicateCommandError,
    DuplicateCorpusError,
    MemstackError,
    NonFiniteError,
    OptionsError,
    ShapeError,
    StaleResultError,
    StateError,
    UnknownBackendError,
    UnknownCorpusError,
)
from memstack.contract.memory import Memory
from memstack.contract.ops import save_searches, search
from memstack.contract.result import MISSING_SCORE, SearchResult
from memstack.contract.shape import MemoryShape
from memstack.plugins.hookspecs import hookimpl
from memstack.plugins.registry import backends, corpora, create_corpus, create_memory
from memstack.plugins.specs import BackendOptions, BackendSpec, CommandSpec, CorpusOptions, CorpusSpec
from memstack.store.finite import inspect_keys
from memstack.store.indexed import IndexedMemory
from memstack.store.int8 import Quantised
from memstack.store.per_head import PerHeadIndexMemory, SearchIndex

__all__ = [
    "MISSING_SCORE",
    "SPLITS",
    "BackendOptions",
    "BackendSpec",
    "BackendUnavailableError",
    "CommandSpec",
    "ConfigError",
    "Corpus",
    "CorpusError",
    "CorpusOptions",
    "CorpusSpec",
    "CorpusUnavailableError",
    "Document",
    "DuplicateBackendError",
    "DuplicateCommandError",
    "DuplicateCorpusError",
    "Entries",
    "FetchedEntries",
    "IndexedMemory",
    "Memory",
    "MemoryShape",
    "MemstackError",
    "NonFiniteError",
    "OptionsError",
    "PerHeadIndexMemory",
    "Quantised",
    "SearchIndex",
    "SearchResult",
    "ShapeError",
    "Split",
    "StaleResultError",
    "StateError",
    "UnknownBackendError",
    "UnknownCorpusError",
    "backends",
    "check_split",
    "corpora",
    "create_corpus",
    "create_memory",
    "hookimpl",
    "inspect_keys",
    "save_searches",
    "search",
]
