"""What a search costs and finds. Every class varies one or two axes round the base case of ``common.Cell``."""

from collections.abc import Mapping
from typing import Any

from memstack.contract.metrics import attention_mass_recall_by_score, recall, recall_by_score
from memstack.measure import true_neighbours
from memstack.measure.measurement import ATTENTION_SCALE, add_entries
from memstack.measure.timing import timed

from .common import BACKENDS, KEYS, SEGMENT, SharedFolder, cell_of, device_of, key_of, once, set_unit, stream

ASKED = SEGMENT  # queries per memory that a recall is measured on


class _Search:
    """Seconds of one search of full memories, all of them in one call; warm, and with the device's work done."""

    param_names: tuple[str, ...]
    base: Mapping[str, object] = {}
    rounds, number, warmup_time, repeat, timeout = 1, 1, 0.0, (3, 20, 3.0), 240
    memory: Any = None
    """A Memory from the first setup on."""

    def setup(self, *params: object) -> None:
        if self.memory is None:  # asv calls this before every sample; a search changes nothing
            self.cell = cell_of(self.param_names, params, self.base)
            self.memory, keys = self.cell.filled()
            self.queries = keys.queries(self.cell.queries)

    def time_search(self, *params: object) -> None:
        timed(lambda: self.memory.search(self.queries, self.cell.k), device_of(self.memory))


class _Recall(SharedFolder):
    """What the same searches find, against exact search of the same entries in the same process."""

    param_names: tuple[str, ...]
    base: Mapping[str, object] = {}
    timeout = 240

    def setup(self, *params: object) -> None:
        self.cell = cell_of(self.param_names, params, self.base)

    def track_recall(self, *params: object) -> float:
        return self._measured()["recall"]

    def track_recall_by_score(self, *params: object) -> float:
        return self._measured()["recall by score"]

    def track_attention_mass_recall(self, *params: object) -> float:
        return self._measured()["attention-mass recall"]

    set_unit("fraction of the true neighbours", track_recall)
    set_unit("fraction of the true neighbours or as good ones", track_recall_by_score)
    set_unit("fraction of the true neighbours' softmax weight", track_attention_mass_recall)

    def _measured(self) -> dict[str, float]:
        return once(key_of("recall", self.cell), self._measure)

    def _measure(self) -> dict[str, float]:
        memory, keys = self.cell.filled()
        queries = keys.queries(ASKED)
        truth = true_neighbours(memory, queries, self.cell.k, memory.device)
        found = memory.search(queries, self.cell.k)
        return {
            "recall": recall(found, truth),
            "recall by score": recall_by_score(found, truth),
            "attention-mass recall": attention_mass_recall_by_score(found, truth, ATTENTION_SCALE),
        }


class _ByEntries:
    """Recorded keys of a head in each of the two memory layers, which differ, and a training segment's queries."""

    base: Mapping[str, object] = {"memories": 2, "queries": SEGMENT, "key_set": "recorded"}
    params = (BACKENDS, [512, 8192, 65536])
    param_names = ("backend", "entries")


class SearchByEntries(_ByEntries, _Search):
    pass


class RecallByEntries(_ByEntries, _Recall):
    pass


class _ByManyEntries:
    """One memory of more entries than are recorded, of drifting keys, and of few of them to compare."""

    base: Mapping[str, object] = {"memories": 1, "queries": 512}
    params = (BACKENDS, [8192, 262144])
    param_names = ("backend", "entries")


class SearchByManyEntries(_ByManyEntries, _Search):
    pass


class RecallByManyEntries(_ByManyEntries, _Recall):
    pass


class SearchByQueries(_Search):
    """From one query, as in decoding, to a training segment's."""

    params = (BACKENDS, [1, 64, 512])
    param_names = ("backend", "queries")


class SearchByMemories(_Search):
    """From a single head to a batch of 8 rows of 8 heads."""

    base: Mapping[str, object] = {"entries": 2048}
    params = (BACKENDS, [1, 8, 64])
    param_names = ("backend", "memories")


class SearchByDimension(_Search):
    base: Mapping[str, object] = {"memories": 1, "queries": 512}
    params = (BACKENDS, [64, 128], [1, 32, 128])
    param_names = ("backend", "dim", "k")


class RecallByKeys(_Recall):
    """From the worst case of an index to real keys."""

    base: Mapping[str, object] = {"memories": 2, "entries": 8192}
    params = (BACKENDS, KEYS)
    param_names = ("backend", "key_set")


class PeakMemory:
    """Bytes that a process needs at most which fills a memory and searches it: store and index, and some 250 MB of
    libraries, which are nearly all of it with 512 entries. 65,536 entries alone are 34 MB of keys and values."""

    base: Mapping[str, object] = {"memories": 1}
    params = (BACKENDS, [512, 65536])
    param_names = ("backend", "entries")
    timeout = 240

    def setup(self, *params: object) -> None:
        self.cell = cell_of(self.param_names, params, self.base)

    def peakmem_fill_and_search(self, *params: object) -> None:
        memory, keys = self.cell.memory(), stream(self.cell.key_set, self.cell.shape)
        add_entries(memory, keys, self.cell.entries)
        memory.search(keys.queries(self.cell.queries), self.cell.k)
