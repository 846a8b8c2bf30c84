"""RemoteMemory: a memory whose entries lie in a store elsewhere; a backend says in which."""

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from memstack.contract.errors import MemoryUnavailableError
from memstack.contract.memory import Memory
from memstack.contract.result import SearchResult
from memstack.contract.shape import MemoryShape
from memstack.contract.state import check_state, select_rows
from memstack.contract.validation import Padded, check_add, check_reset, check_search, check_select
from memstack.plugins.bounds import Count, Real
from memstack.plugins.placement import PLACEMENT
from memstack.plugins.specs import BackendOptions
from memstack.store.remote.columns import Columns
from memstack.store.remote.insisting import Insistence
from memstack.store.remote.ledger import RemoteLedger
from memstack.store.remote.protocol import Notes, RemoteStore

LARGEST = 1e15
"""To which the numbers of queries are cut off for the store's own scores: squares of them are finite."""
Seconds = Annotated[Real, Field(gt=0, le=86400), PLACEMENT]


class RemoteMemory(Memory):
    """Entries are sent to a store and found there; what a search finds comes along with its answer.

    A backend writes ``connect``. Which entries are live is known here, by ids that are never used twice: a reset and an
    eviction are done at once, and an add may be sent any number of times. What the store does not do at once is asked
    of it again, within bounds of time; nothing that was added is lost on the way, and no search misses it.

    Every change is made in whole or not at all, also where it is interrupted, and one thread at a time is at the
    memory: any number may ask. A process that was forked cannot use it (ForkError).
    """

    class Options(BackendOptions):
        dtype: Literal["float32", "float16"] = "float32"
        """How keys and values are stored. Scores are always float32, and those of the keys as they are stored."""
        overlap: Annotated[bool, PLACEMENT] = True
        """Let ``add`` return before its entries have arrived, beside the model's next forward. A search waits for them;
        they are sent again as long as it takes."""
        pending: Annotated[Count, PLACEMENT] = 1 << 18
        """With ``overlap``: how many entries, those of each head counted, may be on their way. An add waits until there
        is room for its own; one of more than that waits until they are stored."""
        timeout: Seconds = 10.0
        """Seconds that the store may take for one request, and 2 ms more for each of its entries, 20 for each query."""
        patience: Seconds = 60.0
        """Seconds for which a store that does not answer is asked again, before MemoryUnavailableError says so."""

    def __init__(self, shape: MemoryShape, options: Options | None = None) -> None:
        self.options = options or self.Options()
        """What the backend was given, or its defaults; a subclass narrows the type to its own ``Options``."""
        self.shape = shape
        connect = partial(type(self).connect, options=self.options)
        insistence = Insistence(self.options.timeout, self.options.patience)
        self.__ledger = RemoteLedger(shape, connect, insistence, self.options.pending, self.__dtype)

    @classmethod
    @abstractmethod
    def connect(cls, shape: MemoryShape, options: Any) -> RemoteStore:
        """Return a store for the points of one memory of this shape, not yet open; a copy of it has one of its own."""

    @classmethod
    def notes(cls, options: Any) -> Notes:
        """Return the notes beside a store that is kept, by options that name it; MemoryUnavailableError if it has none.

        For ``memstack build-store``: a backend that keeps stores (``BackendSpec.keeps``) writes it.
        """
        raise MemoryUnavailableError(f"{cls.__name__} keeps no notes beside a store")

    def flush(self) -> None:
        """Wait until all that was added is stored.

        Raises:
            MemoryUnavailableError: That took too long; what is unsent is kept.
        """
        self.__ledger.alone(self.__ledger.flush)

    def resume(self, entries: int) -> None:
        """Hold the first so many entries of every row, which a store that is kept has of an earlier memory.

        What it has beyond them, as of an add that was cut off, is written over by what is added next.

        Raises:
            MemoryUnavailableError: The store has fewer; nothing was changed.
        """
        self.__ledger.alone(partial(self.__ledger.resume, entries))

    @property
    def unsent(self) -> int:
        """How many entries, those of each head counted, are not known to have arrived; at most ``pending``."""
        return self.__ledger.unsent

    @property
    def lengths(self) -> Int[Tensor, " rows"]:
        return torch.tensor([row.length for row in self.__ledger.rows], dtype=torch.int64, device="cpu")

    @property
    def written(self) -> Int[Tensor, " rows"]:
        return torch.tensor([row.written for row in self.__ledger.rows], dtype=torch.int64, device="cpu")

    def add(
        self,
        keys: Float[Tensor, "rows heads n key_dim"],
        values: Float[Tensor, "rows heads n value_dim"],
        lengths: Int[Tensor, " rows"] | None = None,
        *,
        padded: Padded = "right",
    ) -> None:
        """As ``Memory.add``.

        Raises:
            MemoryUnavailableError: There was no room for what is unsent, for too long; nothing of this was added.
        """
        counts = self.check_add(keys, values, lengths, padded=padded)
        ledger = self.__ledger
        ledger.alone(partial(ledger.add, keys, values, counts, padded, self.options.overlap))

    def check_add(
        self,
        keys: Float[Tensor, "rows heads n key_dim"],
        values: Float[Tensor, "rows heads n value_dim"],
        lengths: Int[Tensor, " rows"] | None = None,
        *,
        padded: Padded = "right",
    ) -> Int[Tensor, " rows"]:
        return check_add(self.shape, keys, values, lengths, padded=padded, dtype=self.__dtype)

    def search(self, queries: Float[Tensor, "rows query_heads q key_dim"], k: int) -> SearchResult:
        """As ``Memory.search``.

        Raises:
            MemoryUnavailableError: The store did not answer for too long, or has lost entries. What was added is kept.
        """
        check_search(self.shape, queries, k)
        return self.__ledger.alone(partial(self.__answer, queries, k, self.exact))

    def search_exactly(self, queries: Float[Tensor, "rows query_heads q key_dim"], k: int) -> SearchResult:
        check_search(self.shape, queries, k)
        return self.__ledger.alone(partial(self.__answer, queries, k, True))

    def reset(self, rows: Bool[Tensor, " rows"] | None = None) -> None:
        forgotten = check_reset(self.shape, rows)
        self.__ledger.alone(partial(self.__ledger.reset, forgotten))

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        chosen = check_select(self.shape, rows)
        self.__ledger.alone(partial(self.__select, chosen))

    def state_dict(self) -> dict[str, Tensor]:
        return self.__ledger.alone(self.__ledger.state)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        check_state(state, self.shape)
        written = state["written"].to("cpu", torch.int64)
        self.check_add(state["keys"], state["values"], written.clamp(max=self.shape.capacity))
        every = range(self.shape.rows)
        self.__ledger.alone(partial(self.__ledger.load, state["keys"], state["values"], written, every))

    @property
    def __dtype(self) -> torch.dtype:
        return getattr(torch, self.options.dtype)

    def __select(self, chosen: Int[Tensor, " rows"]) -> None:
        moved = [row for row, source in enumerate(chosen.tolist()) if row != source]
        if moved:
            state = select_rows(self.__ledger.state(), chosen)
            self.__ledger.load(state["keys"], state["values"], state["written"], moved)
        else:
            self.__ledger.version.bump()

    def __answer(self, queries: Tensor, k: int, exactly: bool) -> SearchResult:
        """Let the store find them; score them here, by the keys that came along."""
        shape, guard, rows = self.shape, self.__ledger.version.guard(), self.__ledger.rows
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            folded = queries.detach().to("cpu", torch.float32).reshape(shape.rows, shape.heads, -1, shape.key_dim)
            width = min(k, max(row.length for row in rows))
            if width and folded.numel():
                finite = folded.nan_to_num(0.0).clamp(-LARGEST, LARGEST)
                columns = Columns.of(self.__ledger.search(finite, width, exactly), folded, rows)
            else:
                columns = Columns.none(folded, shape.value_dim)
            return columns.answer(folded, k, queries, guard)
