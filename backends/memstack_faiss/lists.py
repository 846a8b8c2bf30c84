"""Inverted lists kept first-in-first-out: by removing what is replaced, or by dropping shards of one age."""

from collections.abc import Callable
from typing import Any

import faiss
import numpy as np

from memstack_faiss.centres import distinct_centres

Array = np.ndarray[Any, Any]

HASHTABLE = 2  # faiss.DirectMap.Hashtable, which its Python module has under another name in each release


def train(keys: Array, codec: str, nlist: int, nprobe: int, seed: int) -> Any:
    """Train an empty IVF index for inner products by k-means on (n, dim) keys, of at most so many lists."""
    index = _trained(keys, codec, min(nlist, len(keys)), seed)
    centres = index.quantizer.reconstruct_n(0, index.nlist)
    distinct = distinct_centres(centres, keys)
    if not np.array_equal(distinct, centres):
        index = _trained(keys, codec, len(distinct), seed, distinct)
    index.nprobe = min(nprobe, index.nlist)
    return index


def _trained(keys: Array, codec: str, nlist: int, seed: int, centres: Array | None = None) -> Any:
    """An index of lists round these centres, or those that k-means finds; the codec is trained in any case."""
    n, dim = keys.shape
    index = _untrained(codec, dim, nlist, n)
    index.cp.seed = seed
    # faiss prints a warning below 39 keys per list; so few are all there is.
    index.cp.min_points_per_centroid = 1
    if centres is not None:
        index.quantizer.add(centres)
    index.train(keys)
    return index


def empty_copy(trained: Any, resources: Any | None, gpu: int) -> Any:
    """Copy a trained, empty index to where it will be searched: a GPU if there are resources for it."""
    return faiss.clone_index(trained) if resources is None else faiss.index_cpu_to_gpu(resources, gpu, trained)


def _untrained(codec: str, dim: int, nlist: int, n: int) -> Any:
    centres, metric = faiss.IndexFlatIP(dim), faiss.METRIC_INNER_PRODUCT
    if codec == "flat":
        return faiss.IndexIVFFlat(centres, dim, nlist, metric)
    if codec == "sq8":
        return faiss.IndexIVFScalarQuantizer(centres, dim, nlist, faiss.ScalarQuantizer.QT_8bit, metric)
    # Said outright: without a metric, IVFPQ ranks by Euclidean distance. Eight bits need 256 keys at the very least.
    index = faiss.IndexIVFPQ(centres, dim, nlist, dim // 2 if dim % 2 == 0 else dim, 8 if n >= 1024 else 4, metric)
    index.pq.cp.min_points_per_centroid = 1
    return index


class RemovingLists:
    """One IVF index from which a slot's old key is removed before its new one is added."""

    def __init__(self, trained: Any) -> None:
        self._index = trained
        # Where each id lies: removing some then costs what is removed, not a walk through all lists.
        self._index.set_direct_map_type(HASHTABLE)
        self._filled = 0

    def add(self, slots: Array, keys: Array) -> None:
        """Take in keys at these slots."""
        replaced = slots[slots < self._filled]
        if len(replaced):
            self._index.remove_ids(faiss.IDSelectorArray(replaced))
        self._index.add_with_ids(keys, slots)
        # A ring is filled from slot 0 on.
        self._filled = max(self._filled, int(slots.max()) + 1)

    def search(self, queries: Array, k: int) -> Array:
        """Return up to k slots per query; faiss pads with -1."""
        return self._index.search(queries, min(k, self._index.ntotal))[1]


class AgedLists:
    """Shards of one age each, for indexes that cannot remove.

    A slot belongs to the shard that was last given a key for it; what an older shard says about it is passed over. A
    shard that owns no slot any more is dropped, which in a ring is when all of it has left.
    """

    def __init__(self, new_index: Callable[[], Any], capacity: int, shards: int) -> None:
        self._new_index = new_index
        self._size = -(-capacity // shards)
        self._shards: dict[int, Any] = {}
        self._owner = np.full(capacity, -1)
        self._newest = -1
        self._room = 0

    def add(self, slots: Array, keys: Array) -> None:
        """Take in keys at these slots, in as many shards as they fill."""
        while len(slots):
            # A shard that was given a slot twice could not tell the old key from the new one.
            again = np.flatnonzero(self._owner[slots[: self._room]] == self._newest)
            n = int(again[0]) if len(again) else min(self._room, len(slots))
            if n == 0:
                self._open_shard()
                continue
            self._shards[self._newest].add_with_ids(keys[:n], slots[:n])
            self._owner[slots[:n]] = self._newest
            self._room -= n
            slots, keys = slots[n:], keys[n:]
        owners = set(np.unique(self._owner).tolist())
        self._shards = {serial: index for serial, index in self._shards.items() if serial in owners}

    def search(self, queries: Array, k: int) -> Array:
        """Return up to k slots per query and shard, -1 where a shard answered with what it no longer owns."""
        found: list[Array] = []
        for serial, index in self._shards.items():
            slots = index.search(queries, min(k, index.ntotal))[1]
            found.append(np.where((slots >= 0) & (self._owner[slots] == serial), slots, -1))
        return np.concatenate(found, axis=1)

    def _open_shard(self) -> None:
        self._newest, self._room = self._newest + 1, self._size
        self._shards[self._newest] = self._new_index()
