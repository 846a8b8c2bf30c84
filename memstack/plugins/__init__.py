"""Plugins: hooks, records, the registry that finds them, and the configuration they are chosen by."""

from memstack.contract.errors import CacheError
from memstack.plugins.disk_cache import cached, forget, kept, mapped

__all__ = ["CacheError", "cached", "forget", "kept", "mapped"]
