"""Anisotropic vector quantisation in a tree (ScaNN, arXiv 1908.10396), one searcher per row and head."""

import ctypes
from typing import Any

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from scann.scann_ops.py import scann_ops_pybind

from memstack import MemoryShape, PerHeadIndexMemory

Array = np.ndarray[Any, Any]

# ScaNN's own recommendation for inner products.
ANISOTROPIC_THRESHOLD = 0.2
CODES = 16  # per two dimensions
# Keys trained on at most: with 65k keys more of them make training three times longer and find nothing more.
TREE_SAMPLE = 1 << 15
CODE_SAMPLE = 1 << 13


class ScannMemory(PerHeadIndexMemory):
    """Looks into the leaves nearest to the query, ranks their keys by 4-bit codes and re-orders the best exactly.

    Entries are replaced in place (``upsert``); tree and codes are trained again on all that is stored whenever the
    store has grown or turned over by ``retrain_after``.
    """

    class Options(PerHeadIndexMemory.Options):
        leaves: PositiveInt | None = None
        """Number of the tree's leaves; by default the square root of the number of entries trained on."""
        leaves_searched: PositiveInt = 32
        """Leaves visited per query; more is slower and more accurate."""
        reordered: int = Field(default=1024, ge=1, lt=1 << 31)
        """Candidates per query that are scored exactly, never fewer than k; more is slower and more accurate. With 256,
        65k keys of a trained model cost a quarter less to search, at a recall of 0.91 in place of 0.97."""
        retrain_after: PositiveFloat = 1.0
        """Train again once this many times the entries trained on have been written since."""

        @model_validator(mode="after")
        def _trainable(self) -> "ScannMemory.Options":
            if self.exact_below < CODES:
                raise ValueError(f"exact_below should be at least {CODES}, for codes are trained on as many keys")
            return self

    options: Options

    def __init__(self, shape: MemoryShape, options: Options | None = None) -> None:
        super().__init__(shape, options)
        _quieten()

    def build_index(self, keys: Array) -> "ScannIndex":
        options = self.options
        leaves = min(options.leaves or int(len(keys) ** 0.5), len(keys), TREE_SAMPLE)
        builder = scann_ops_pybind.builder(keys, options.reordered, "dot_product")
        builder.set_n_training_threads(self.threads_per_index)
        builder.tree(
            leaves,
            min(options.leaves_searched, leaves),
            training_sample_size=min(len(keys), TREE_SAMPLE),
            min_partition_size=1,
        )
        builder.score_ah(
            2,
            anisotropic_quantization_threshold=ANISOTROPIC_THRESHOLD,
            training_sample_size=min(len(keys), CODE_SAMPLE),
        )
        builder.reorder(options.reordered)
        return ScannIndex(builder.build(), len(keys), options)


class ScannIndex:
    """The searcher of one memory. Its numbers for entries are slots: a ring is filled from slot 0 on."""

    def __init__(self, searcher: Any, n: int, options: ScannMemory.Options) -> None:
        # Below the wrapper, which would translate every id of every answer through a Python list.
        self._searcher = searcher.searcher
        self._filled = n
        self._reordered = options.reordered
        self._patience = options.retrain_after * n

    @property
    def needs_rebuild(self) -> bool:
        return self._patience <= 0

    def add(self, slots: Array, keys: Array) -> None:
        places = [slot if slot < self._filled else None for slot in slots.tolist()]
        self._searcher.upsert(places, keys, len(places))
        self._filled = max(self._filled, int(slots.max()) + 1)
        self._patience -= len(places)

    def search(self, queries: Array, k: int) -> Array:
        found, scores = self._searcher.search_batched(queries, k, max(k, self._reordered), -1, False, 0)
        # Where fewer than k are found ScaNN pads with entry 0, a real one, and the score NaN.
        return np.where(np.isnan(scores), -1, found.astype(np.int64))


def _quieten() -> None:
    """ScaNN logs every training on the terminal, and has no Python way to say it should not: errors remain."""
    library = ctypes.CDLL(scann_ops_pybind.scann_pybind.__file__)
    # Named as this abseil release names it; another one's logs are then seen, which does no harm.
    set_minimum = getattr(library, "_ZN4absl12lts_2025012714SetMinLogLevelENS0_18LogSeverityAtLeastE", None)
    if set_minimum is not None:
        set_minimum(2)
