"""PerHeadIndexMemory: exact search while a row is short, then one small index per row and head, filled in parallel."""

from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from itertools import chain, product
from typing import Annotated, Any, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Int64
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn.functional import pad

from memstack.contract.shape import MemoryShape
from memstack.plugins.placement import PLACEMENT
from memstack.store.forking import never_free, tell_of_forks
from memstack.store.indexed import IndexedMemory
from memstack.store.int8 import Vectors
from memstack.store.workers import Workers

Array = np.ndarray[Any, Any]

MOST_THREADS = 256
LARGEST = 1e15  # libraries square and sum; beyond some 1e18 that is infinite, and one of them ends the process


class SearchIndex(Protocol):
    """An index over one memory: its ring's slots, by their keys. Used by one thread at a time, not always the same."""

    @property
    def needs_rebuild(self) -> bool:
        """True if an index built anew from the keys now stored would serve better: it has grown, or they drifted."""
        ...

    def add(self, slots: Int64[Array, " n"], keys: Float32[Array, "n key_dim"]) -> None:
        """Take in keys at these slots, replacing what the slots held."""
        ...

    def search(self, queries: Float32[Array, "q key_dim"], k: int) -> Int64[Array, "q candidates"]:
        """Propose slots for each query, none twice, in any order; -1 for none. Queries are finite."""
        ...


class _Indexes(dict[int, list[SearchIndex]]):
    """The indexes of every row that has some, one for each head."""

    def __init__(self) -> None:
        super().__init__()
        tell_of_forks(self)

    def before_fork(self) -> None:
        """Do nothing: an index at rest is whole."""

    def after_fork(self) -> None:
        """Keep what came along: ScaNN's searchers have threads, which stayed behind, and are waited for when freed."""
        for index in chain(*self.values()):
            never_free(index)

    def __reduce__(self) -> Any:
        """A copy has none: libraries do not copy theirs, and a row without is searched exactly until its next add."""
        return _Indexes, ()


class PerHeadIndexMemory(IndexedMemory):
    """For libraries that know a single index only: rows x heads of them, behind one memory.

    A row is searched exactly until it holds ``exact_below`` entries; then each of its heads gets an index built from
    the stored keys, which is kept in step by ``add`` and built anew when it says that it needs to be. Should an index
    fail, the call raises, and the rows it was about are searched exactly until the next add builds their indexes again.
    Backends write ``build_index``.
    """

    class Options(IndexedMemory.Options):
        exact_below: PositiveInt = 1024
        """A row with fewer entries than this is searched exactly; its indexes are built when it has as many."""
        threads: Annotated[PositiveInt | None, PLACEMENT] = Field(default=None, le=MOST_THREADS)
        """Indexes worked on at once; by default as many as torch uses threads."""

    def __init__(self, shape: MemoryShape, options: Options | None = None) -> None:
        self.options = options or self.Options()
        super().__init__(shape, self.options)
        self.__workers = Workers()
        self.__indexes = _Indexes()

    @property
    def exact_below(self) -> int:
        """A row with fewer entries than this is searched exactly."""
        return self.options.exact_below

    @property
    def threads_per_index(self) -> int:
        """Threads that one index may use: more than one only where there are fewer indexes than threads."""
        return max(1, self.__threads // (self.shape.rows * self.shape.heads))

    @property
    def __threads(self) -> int:
        return self.options.threads or torch.get_num_threads()

    @abstractmethod
    def build_index(self, keys: Float32[Array, "n key_dim"]) -> SearchIndex:
        """Build an index of the keys in slots 0 to n - 1.

        It should not refer to this memory, which refers to it: in a cycle, what may be gigabytes is freed late.
        """

    @staticmethod
    def prepare_thread(threads: int) -> None:
        """Set up a thread that will build and search indexes, each with so many threads; by default nothing."""

    def index_add(
        self, rows: Int[Tensor, " rows_"], slots: Int[Tensor, "rows_ n"], keys: Float[Tensor, "rows_ heads n key_dim"]
    ) -> None:
        self.__enter_process()
        held = np.maximum(self.lengths[rows].numpy(), slots.amax(1).numpy() + 1)
        indexed = [place for place, n in enumerate(held) if n >= self.exact_below]
        data, targets = _to_numpy(keys), slots.numpy()

        def add(place: int, head: int) -> SearchIndex:
            row, slot, new = int(rows[place]), targets[place], data[place, head]
            index = self.__indexes[row][head] if row in self.__indexes else None
            if index is None or index.needs_rebuild:
                return self.build_index(self._merged(row, head, int(held[place]), slot, new))
            index.add(slot, new)
            return index

        try:
            done = self._everywhere(add, indexed)
        except BaseException:
            # What was half written would be missed in searches: these rows are searched exactly until built again.
            self._drop([int(rows[place]) for place in indexed])
            raise
        self.__indexes |= {int(rows[place]): indexes for place, indexes in zip(indexed, done, strict=True)}

    def index_search(
        self, queries: Float[Tensor, "rows heads q key_dim"], k: int
    ) -> Int[Tensor, "rows heads q candidates"]:
        self.__enter_process()
        data = np.nan_to_num(_to_numpy(queries))
        rows = sorted(self.__indexes)
        try:
            found = self._everywhere(lambda row, head: self.__indexes[row][head].search(data[row, head], k), rows)
        except Exception:
            self._drop(rows)
            raise
        width = max([k, *(slots.shape[1] for heads in found for slots in heads)])
        result = torch.full((*queries.shape[:3], width), -1, dtype=torch.int64, device=self.device)
        for row, heads in zip(rows, found, strict=True):
            for head, slots in enumerate(heads):
                result[row, head, :, : slots.shape[1]] = torch.from_numpy(slots).to(self.device)
        lengths = self.lengths
        short = torch.tensor(
            [row not in self.__indexes for row in range(self.shape.rows)], dtype=torch.bool, device="cpu"
        ) & (lengths > 0)
        if bool(short.any()):
            nearest = self.nearest_slots(queries[short], min(k, int(lengths[short].max())), short)
            result[short] = pad(nearest, (0, width - nearest.shape[-1]), value=-1)
        return result

    def index_forget(self, rows: Bool[Tensor, " rows"]) -> None:
        self._drop(rows.nonzero().flatten().tolist())

    def index_restore(self, rows: Bool[Tensor, " rows"]) -> None:
        self.index_forget(rows)  # until the next add these rows are searched exactly

    def __enter_process(self) -> None:
        """In a forked process, do without indexes that were being worked on when it was forked."""
        if self.__workers.left_behind():
            self.__indexes = _Indexes()

    def _drop(self, rows: list[int]) -> None:
        for row in rows:
            self.__indexes.pop(row, None)

    def _merged(self, row: int, head: int, n: int, slots: Array, keys: Array) -> Array:
        """The first n keys of one memory as they will be once these are written."""
        merged = _to_numpy(self.stored_keys[row, head, :n])
        merged[slots] = keys
        return merged

    def _everywhere(self, work: Callable[[int, int], Any], rows: list[int]) -> list[list[Any]]:
        """Run ``work`` for every head of these rows, in parallel; the first error is raised once all have ended."""
        pool = self.__workers.pool(self.__threads, self.prepare_thread, self.threads_per_index)
        futures: list[Future[Any]] = []
        with self.__workers.at_work():
            try:
                for row, head in product(rows, range(self.shape.heads)):
                    # In a copy of the context, so that work inside a background add may read the store and not wait
                    # for that add.
                    futures.append(pool.submit(copy_context().run, work, row, head))
                wait(futures)
            except BaseException:  # an interrupt: nothing may go on writing behind the caller's back
                for future in (future for future in futures if not future.cancel()):
                    future.exception()
                raise
        done = [future.result() for future in futures]
        heads = self.shape.heads
        return [done[place * heads :][:heads] for place in range(len(rows))]


def _to_numpy(tensor: Vectors) -> Array:
    """For an index, which only proposes; the store scores with the numbers as they are."""
    return np.ascontiguousarray(tensor.to("cpu", torch.float32).clamp(-LARGEST, LARGEST).numpy())
