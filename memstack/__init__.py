"""memstack: long-term kNN memory for transformers, with interchangeable search backends."""

from memstack.attention import Attended, MemoryAttention, attend, local_attention
from memstack.bank import MemoryBank
from memstack.contract.corpus import SPLITS, Corpus, Document, Split, check_split
from memstack.contract.entries import Entries, FetchedEntries
from memstack.contract.errors import (
    BackendUnavailableError,
    CommitError,
    ConfigError,
    CorpusError,
    CorpusUnavailableError,
    DuplicateBackendError,
    DuplicateCommandError,
    DuplicateCorpusError,
    LayerError,
    MemstackError,
    NonFiniteError,
    OptionsError,
    ShapeError,
    StaleResultError,
    StateError,
    UnknownBackendError,
    UnknownCorpusError,
)
from memstack.contract.finite import inspect_keys
from memstack.contract.memory import Memory
from memstack.contract.ops import save_searches, search
from memstack.contract.result import MISSING_SCORE, SearchResult
from memstack.contract.shape import MemoryShape
from memstack.contract.state import check_state, new_state, select_rows
from memstack.contract.validation import Padded, check_add, check_reset, check_search, check_select
from memstack.contract.version import Version
from memstack.plugins.hookspecs import hookimpl
from memstack.plugins.registry import backends, corpora, create_corpus, create_memory
from memstack.plugins.specs import BackendOptions, BackendSpec, CommandSpec, CorpusOptions, CorpusSpec
from memstack.store.indexed import IndexedMemory
from memstack.store.int8 import Quantised
from memstack.store.per_head import PerHeadIndexMemory, SearchIndex

__all__ = [
    "MISSING_SCORE",
    "SPLITS",
    "Attended",
    "BackendOptions",
    "BackendSpec",
    "BackendUnavailableError",
    "CommandSpec",
    "CommitError",
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
    "LayerError",
    "Memory",
    "MemoryAttention",
    "MemoryBank",
    "MemoryShape",
    "MemstackError",
    "NonFiniteError",
    "OptionsError",
    "Padded",
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
    "Version",
    "attend",
    "backends",
    "check_add",
    "check_reset",
    "check_search",
    "check_select",
    "check_split",
    "check_state",
    "corpora",
    "create_corpus",
    "create_memory",
    "hookimpl",
    "inspect_keys",
    "local_attention",
    "new_state",
    "save_searches",
    "search",
    "select_rows",
]
