"""memstack: long-term kNN memory for transformers, with interchangeable search backends."""

from memstack.backend import BackendOptions, BackendSpec, CommandSpec
from memstack.entries import Entries, FetchedEntries
from memstack.errors import (
    BackendUnavailableError,
    ConfigError,
    DuplicateBackendError,
    DuplicateCommandError,
    MemstackError,
    NonFiniteError,
    OptionsError,
    ShapeError,
    StaleResultError,
    StateError,
    UnknownBackendError,
)
from memstack.finite import inspect_keys
from memstack.graph import save_searches, search
from memstack.hookspecs import hookimpl
from memstack.indexed import IndexedMemory
from memstack.memory import MISSING_SCORE, Memory, MemoryShape, SearchResult
from memstack.quantised import Quantised
from memstack.registry import backends, create_memory
from memstack.tiered import SearchIndex, TieredMemory

__all__ = [
    "MISSING_SCORE",
    "BackendOptions",
    "BackendSpec",
    "BackendUnavailableError",
    "CommandSpec",
    "ConfigError",
    "DuplicateBackendError",
    "DuplicateCommandError",
    "Entries",
    "FetchedEntries",
    "IndexedMemory",
    "Memory",
    "MemoryShape",
    "MemstackError",
    "NonFiniteError",
    "OptionsError",
    "Quantised",
    "SearchIndex",
    "SearchResult",
    "ShapeError",
    "StaleResultError",
    "StateError",
    "TieredMemory",
    "UnknownBackendError",
    "backends",
    "create_memory",
    "hookimpl",
    "inspect_keys",
    "save_searches",
    "search",
]
