"""The store that memories share: a ring of keys and values, read in place.

Backends import from here, not from the modules behind it. ``memstack.store.embedding_bag_triton``, the kernels for a
GPU, is imported by its name, for it needs triton.
"""

from memstack.store.exact import nearest_slots
from memstack.store.indexed import IndexedMemory
from memstack.store.int8 import Quantised
from memstack.store.per_head import PerHeadIndexMemory, SearchIndex
from memstack.store.ranking import Scored
from memstack.store.sizes import next_power_of_2
from memstack.store.storage import StoreOptions, new_zeros

__all__ = [
    "IndexedMemory",
    "PerHeadIndexMemory",
    "Quantised",
    "Scored",
    "SearchIndex",
    "StoreOptions",
    "nearest_slots",
    "new_zeros",
    "next_power_of_2",
]
