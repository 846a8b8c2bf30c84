"""memstack: long-term kNN memory for transformers, with interchangeable search backends."""

import importlib
from typing import TYPE_CHECKING, Any

from memstack.contract.corpus import SPLITS, Corpus, Document, Split, check_split
from memstack.contract.errors import (
    BackendUnavailableError,
    CommitError,
    ConfigError,
    CopyError,
    CorpusError,
    CorpusUnavailableError,
    DuplicateBackendError,
    DuplicateCommandError,
    DuplicateCorpusError,
    ForkError,
    LayerError,
    MemoryUnavailableError,
    MemstackError,
    NonFiniteError,
    OptionsError,
    RecordError,
    ShapeError,
    ShardError,
    StaleResultError,
    StateError,
    UnknownBackendError,
    UnknownCorpusError,
    UnreachableError,
)
from memstack.contract.shape import MemoryShape
from memstack.contract.version import Version
from memstack.plugins.distributions import spare_others

if TYPE_CHECKING:
    from memstack.attention import Attended, MemoryAttention, attend, local_attention
    from memstack.bank import MemoryBank
    from memstack.contract.entries import Entries, FetchedEntries
    from memstack.contract.finite import inspect_keys
    from memstack.contract.memory import Memory
    from memstack.contract.ops import save_searches, search
    from memstack.contract.result import MISSING_SCORE, SearchResult
    from memstack.contract.state import check_state, new_state, select_rows
    from memstack.contract.validation import Padded, check_add, check_reset, check_search, check_select
    from memstack.plugins.hookspecs import hookimpl
    from memstack.plugins.placement import PLACEMENT
    from memstack.plugins.registry import backends, corpora, create_corpus, create_memory
    from memstack.plugins.specs import BackendOptions, BackendSpec, CommandSpec, CorpusOptions, CorpusSpec
    from memstack.store.indexed import IndexedMemory
    from memstack.store.int8 import Quantised
    from memstack.store.per_head import PerHeadIndexMemory, SearchIndex
    from memstack.store.remote import RemoteMemory

# Before anybody imports torch, or makes a first pydantic model.
spare_others()

# What needs torch is imported when it is first asked for: listings, help and a shell that completes do without. And
# what needs pydantic, so that a command is soon where Ctrl-C ends it with a word.
_LATER = {
    "memstack.attention": ("Attended", "MemoryAttention", "attend", "local_attention"),
    "memstack.bank": ("MemoryBank",),
    "memstack.contract.entries": ("Entries", "FetchedEntries"),
    "memstack.contract.finite": ("inspect_keys",),
    "memstack.contract.memory": ("Memory",),
    "memstack.contract.ops": ("save_searches", "search"),
    "memstack.contract.result": ("MISSING_SCORE", "SearchResult"),
    "memstack.contract.state": ("check_state", "new_state", "select_rows"),
    "memstack.contract.validation": ("Padded", "check_add", "check_reset", "check_search", "check_select"),
    "memstack.plugins.hookspecs": ("hookimpl",),
    "memstack.plugins.placement": ("PLACEMENT",),
    "memstack.plugins.registry": ("backends", "corpora", "create_corpus", "create_memory"),
    "memstack.plugins.specs": ("BackendOptions", "BackendSpec", "CommandSpec", "CorpusOptions", "CorpusSpec"),
    "memstack.store.indexed": ("IndexedMemory",),
    "memstack.store.int8": ("Quantised",),
    "memstack.store.per_head": ("PerHeadIndexMemory", "SearchIndex"),
    "memstack.store.remote": ("RemoteMemory",),
}

__all__ = [
    "MISSING_SCORE",
    "PLACEMENT",
    "SPLITS",
    "Attended",
    "BackendOptions",
    "BackendSpec",
    "BackendUnavailableError",
    "CommandSpec",
    "CommitError",
    "ConfigError",
    "CopyError",
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
    "ForkError",
    "IndexedMemory",
    "LayerError",
    "Memory",
    "MemoryAttention",
    "MemoryBank",
    "MemoryShape",
    "MemoryUnavailableError",
    "MemstackError",
    "NonFiniteError",
    "OptionsError",
    "Padded",
    "PerHeadIndexMemory",
    "Quantised",
    "RecordError",
    "RemoteMemory",
    "SearchIndex",
    "SearchResult",
    "ShapeError",
    "ShardError",
    "Split",
    "StaleResultError",
    "StateError",
    "UnknownBackendError",
    "UnknownCorpusError",
    "UnreachableError",
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


def __getattr__(name: str) -> Any:
    for module, names in _LATER.items():
        if name in names:
            value = globals()[name] = getattr(importlib.import_module(module), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
