"""One store for all: filled once, read by every row beside what the row remembers itself."""

from memstack.wrappers.common.beside import BesideMemory
from memstack.wrappers.common.building import StoreBuilder
from memstack.wrappers.common.memory import CommonMemory
from memstack.wrappers.common.opening import OpenStore, open_store
from memstack.wrappers.common.records import Header, LayerShape

__all__ = ["BesideMemory", "CommonMemory", "Header", "LayerShape", "OpenStore", "StoreBuilder", "open_store"]
