"""memstack: long-term kNN memory for transformers, with interchangeable search backends."""

import importlib
from typing import TYPE_CHECKING, Any

from memstack.contract.errors import (
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
from memstack.contract.shape import MemoryShape
from memstack.plugins.hookspecs import hookimpl
from memstack.plugins.registry import backends, create_memory
from memstack.plugins.specs import BackendOptions, BackendSpec, CommandSpec

if TYPE_CHECKING:
    from memstack.contract.entries import Entries, FetchedEntries
    from memstack.contract.memory import Memory
    from memstack.contract.ops import save_searches, search
    from memstack.contract.result import MISSING_SCORE, SearchResult
    from memstack.store.finite import inspect_keys
    from memstack.store.indexed import IndexedMemory
    from memstack.store.int8 import Quantised
    from memstack.store.per_head import PerHeadIndexMemory, SearchIndex

# What needs torch is imported when it is first asked for: listings, help and a shell that completes do without.
_LATER = {
    "memstack.contract.entries": ("Entries", "FetchedEntries"),
    "memstack.contract.memory": ("Memory",),
    "memstack.contract.ops": ("save_searches", "search"),
    "memstack.contract.result": ("MISSING_SCORE", "SearchResult"),
    "memstack.store.finite": ("inspect_keys",),
    "memstack.store.indexed": ("IndexedMemory",),
    "memstack.store.int8": ("Quantised",),
    "memstack.store.per_head": ("PerHeadIndexMemory", "SearchIndex"),
}

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
    "PerHeadIndexMemory",
    "Quantised",
    "SearchIndex",
    "SearchResult",
    "ShapeError",
    "StaleResultError",
    "StateError",
    "UnknownBackendError",
    "backends",
    "create_memory",
    "hookimpl",
    "inspect_keys",
    "save_searches",
    "search",
]


def __getattr__(name: str) -> Any:
    for module, names in _LATER.items():
        if name in names:
            value = globals()[name] = getattr(importlib.import_module(module), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
