"""Inverted lists (IVF) of faiss (arXiv 2401.08281), one index per row and head."""

from functools import partial
from typing import Any, Literal

import faiss
import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from memstack import MemoryShape, PerHeadIndexMemory
from memstack_faiss.lists import AgedLists, Array, RemovingLists, empty_copy, train

PQ_POINTS = 16  # a product quantiser has at least this many centroids, and k-means needs a point for each
GPU_SHARDS = 8


class FaissIVFMemory(PerHeadIndexMemory):
    """Looks only into the lists whose centres are nearest to the query.

    Lists trained once on a document's first keys lose a quarter of the recall, so they are trained again, by k-means
    on all that is stored, when the store has grown or turned over or when its keys have drifted.
    """

    class Options(PerHeadIndexMemory.Options):
        nlist: PositiveInt | None = None
        """Number of inverted lists; by default the square root of the number of entries trained on."""
        nprobe: PositiveInt = 16
        """Lists visited per query; more is slower and more accurate."""
        codec: Literal["flat", "sq8", "pq"] = "flat"
        """Form in which lists hold keys: float32, in a byte per dimension, or product quantised to a byte per two."""
        rescored: PositiveInt = 4
        """With sq8 and pq, how many candidates per neighbour the store scores exactly."""
        retrain_after: PositiveFloat = 1.0
        """Train again once this many times the entries trained on have been written since."""
        drift: PositiveFloat = 1.5
        """Train again once new keys lie, in the mean square, this many times further from their lists' centres than
        those trained on did."""
        shards: PositiveInt | None = None
        """Keep an index in so many parts by age, and drop the oldest whole when all of it has left, instead of removing
        entries one by one. An index on a GPU cannot remove: there it is 8 by default. (Never run on a GPU yet.)"""
        seed: int = Field(default=0, ge=0, lt=1 << 31)
        """Seeds k-means."""

        @model_validator(mode="after")
        def _trainable(self) -> "FaissIVFMemory.Options":
            if self.codec == "pq" and self.exact_below < PQ_POINTS:
                raise ValueError(f"codec pq needs exact_below of at least {PQ_POINTS}, got {self.exact_below}")
            return self

    options: Options

    def __init__(self, shape: MemoryShape, options: Options | None = None) -> None:
        options = options or self.Options()
        # faiss-cpu has no such class; its index then lies on the CPU beside a store on the GPU.
        on_gpu = options.device.startswith("cuda") and hasattr(faiss, "StandardGpuResources")
        # faiss's GPU indexes are not safe to use from several threads.
        super().__init__(shape, options.model_copy(update={"threads": 1}) if on_gpu else options)
        self._resources = faiss.StandardGpuResources() if on_gpu else None
        self._gpu = self.stored_keys.device.index or 0
        self._shards = self.options.shards or (GPU_SHARDS if on_gpu else None)

    @staticmethod
    def prepare_thread(threads: int) -> None:
        # OpenMP counts per calling thread: whoever else uses faiss in this process keeps its own number.
        faiss.omp_set_num_threads(threads)

    def build_index(self, keys: Array) -> "IVFIndex":
        options = self.options
        trained = train(keys, options.codec, options.nlist or int(len(keys) ** 0.5), options.nprobe, options.seed)
        if self._shards is None:
            lists = RemovingLists(trained)
        else:
            copy = partial(empty_copy, trained, self._resources, self._gpu)
            lists = AgedLists(copy, self.shape.capacity, self._shards)
        return IVFIndex(trained, lists, keys, options)


class IVFIndex:
    """The lists of one memory, and how well their centres still fit its keys."""

    def __init__(
        self, trained: Any, lists: RemovingLists | AgedLists, keys: Array, options: FaissIVFMemory.Options
    ) -> None:
        self._quantizer, self._lists, self._options = trained.quantizer, lists, options
        self._centres = trained.quantizer.reconstruct_n(0, trained.nlist)
        self._trained_on = len(keys)
        self._trained_distance = self._distances(keys).mean()
        self._since, self._distance_since = 0, 0.0
        self._candidates = 1 if options.codec == "flat" else options.rescored
        lists.add(np.arange(len(keys)), keys)

    @property
    def needs_rebuild(self) -> bool:
        # Training costs more than it brings if a few odd keys can start it.
        if self._since < self._trained_on / 4:
            return False
        patience = self._options.retrain_after * self._trained_on
        distance = self._distance_since / self._since
        return self._since >= patience or distance > self._options.drift * self._trained_distance

    def add(self, slots: Array, keys: Array) -> None:
        self._lists.add(slots, keys)
        self._since += len(keys)
        self._distance_since += float(self._distances(keys).sum())

    def search(self, queries: Array, k: int) -> Array:
        return self._lists.search(queries, k * self._candidates)

    def _distances(self, keys: Array) -> Array:
        """Squared distance of each key to the centre of its list."""
        _, lists = self._quantizer.search(keys, 1)
        return ((keys - self._centres[lists[:, 0]]) ** 2).sum(1)
