"""The memory under test: how the kit makes one, and a trial that drives it side by side with the oracle."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor

from memstack.contract.errors import OptionsError, ShapeError
from memstack.contract.memory import Memory
from memstack.contract.ops import search
from memstack.contract.result import SearchResult
from memstack.contract.shape import MemoryShape
from memstack.contract.validation import Padded
from memstack.plugins.registry import registry
from memstack.plugins.specs import BackendOptions, BackendSpec
from memstack.testing.assertions import ensure, ensure_identical, ensure_raises, ensure_same_answer, ensure_true_answer
from memstack.testing.oracle import Oracle

Door = Callable[[Tensor, int], SearchResult]

# A capacity at which trained indexes train and graphs have edges, and which the kit's usual chunk does not divide.
SHAPE = MemoryShape(rows=3, heads=2, key_dim=8, value_dim=6, capacity=64)
CHUNK = 24


class Data:
    """Seeded random tensors whose numbers are exact in half precision, and whose inner products are in float32.

    So a store's dtype and the order of its sums change nothing, and an answer is either right or wrong. A store in int8
    rounds them; so does the oracle beside it, and their inner products with queries are exact again.
    """

    def __init__(self, shape: MemoryShape, seed: int = 0) -> None:
        self.shape = shape
        self.random = torch.Generator().manual_seed(seed)

    def numbers(self, *size: int) -> Tensor:
        """Sixteenths from -4 to 4."""
        return torch.randint(-64, 65, size, generator=self.random) / 16

    def keys(self, n: int) -> Tensor:
        return self.numbers(self.shape.rows, self.shape.heads, n, self.shape.key_dim)

    def values(self, n: int) -> Tensor:
        return self.numbers(self.shape.rows, self.shape.heads, n, self.shape.value_dim)

    def queries(self, q: int, group: int = 1) -> Tensor:
        return self.numbers(self.shape.rows, self.shape.heads * group, q, self.shape.key_dim)


class Trial:
    """One memory driven side by side with the oracle; every answer it gives is checked."""

    def __init__(self, memory: Memory, exact: bool, seed: int = 0, eight_bits: bool = False) -> None:
        self.memory = memory
        self.exact = exact
        self.eight_bits = eight_bits
        self.oracle = Oracle(memory.shape, eight_bits)
        self.data = Data(memory.shape, seed)

    def add(self, n: int) -> None:
        """Add n random pairs."""
        self.give(self.data.keys(n), self.data.values(n))

    def give(
        self, keys: Tensor, values: Tensor, lengths: Sequence[int] | None = None, padded: Padded = "right"
    ) -> None:
        """Add these pairs, of each row all or so many."""
        if lengths is None:
            self.memory.add(keys, values)
        else:
            self.memory.add(keys, values, torch.tensor(lengths), padded=padded)
        self.oracle.add(keys, values, lengths, padded)

    def reset(self, *rows: bool) -> None:
        """Forget the rows that are True."""
        self.memory.reset(torch.tensor(rows))
        self.oracle.reset(rows)

    def select(self, *rows: int) -> None:
        """Let each row hold what another one held."""
        self.memory.select(torch.tensor(rows))
        self.oracle.select(rows)

    def search(self, queries: Tensor, k: int) -> SearchResult:
        """Ask through both doors, the memory's own and the operator that models call; they have to answer alike."""
        direct, found = (ask(queries, k) for ask in self.doors)
        ensure_same_answer("memstack.search beside memory.search", found, direct)
        ensure_identical("memstack.search beside memory.search: keys", found.keys, direct.keys)
        ensure_identical("memstack.search beside memory.search: values", found.values, direct.values)
        return found

    def check_exactly(self, queries: Tensor, k: int) -> None:
        """Ask for an exact search and compare the answer with the oracle."""
        ensure_true_answer(self.memory.search_exactly(queries, k), queries, k, self.oracle, exact=True)

    def ensure_refuses(self, what: str, queries: Tensor, k: int) -> None:
        """Raise AssertionError unless both doors, and exact search, refuse the question with ShapeError."""
        for ask in (*self.doors, self.memory.search_exactly):
            ensure_raises(ShapeError, what, lambda: ask(queries, k))  # noqa: B023

    def answers(self, queries: Tensor, k: int) -> list[SearchResult]:
        """Return the answers of both doors, compared with each other and with the oracle."""
        self.ask(queries, k)
        return [ask(queries, k) for ask in self.doors]

    @property
    def doors(self) -> tuple[Door, Door]:
        """The two ways to ask: ``memory.search``, and ``memstack.search`` of the memory."""
        return self.memory.search, partial(search, self.memory)

    def check(self, k: int = 5, q: int = 3, group: int = 1) -> SearchResult:
        """Ask random queries and compare lengths and answer with the oracle."""
        return self.ask(self.data.queries(q, group), k)

    def ask(self, queries: Tensor, k: int) -> SearchResult:
        """Ask these queries and compare lengths and answer with the oracle."""
        self.check_counts()
        found = self.search(queries, k)
        ensure_true_answer(found, queries, k, self.oracle, self.exact)
        return found

    def check_counts(self) -> None:
        """Compare the counters with the oracle's."""
        lengths = self.memory.lengths.tolist()
        ensure(lengths == self.oracle.lengths, f"lengths should be {self.oracle.lengths}, got {lengths}")
        written = self.memory.written.tolist()
        ensure(written == self.oracle.written, f"written should be {self.oracle.written}, got {written}")


class Harness:
    """What is tested: the name of a backend, or a callable that makes a memory of a given shape."""

    backend: str | Callable[[MemoryShape], Memory] = ""
    """A registered name. A callable (wrapped in ``staticmethod``) tests a memory before it is registered."""
    options: ClassVar[Mapping[str, Any] | None] = None
    """The backend's options; by default its spec's ``test_options``."""
    exact: bool | None = None
    """Whether it must find the true nearest neighbours; by default what its spec says, or the memory of a callable."""
    recall_floor: float | None = None
    """The recall it must reach on clustered keys; by default what its spec says."""

    def make(self, shape: MemoryShape = SHAPE, **options: Any) -> Memory:
        """Make an empty memory; ``options`` are set on top of the subject's own."""
        if not isinstance(self.backend, str):
            return self.backend(shape)
        return registry().create(self.backend, shape, **self._with(options))

    def trial(self, shape: MemoryShape = SHAPE, seed: int = 0, **options: Any) -> Trial:
        """Make an empty memory and an oracle beside it."""
        return Trial(self.make(shape, **options), self.is_exact, seed, self._with(options).get("dtype") == "int8")

    @property
    def spec(self) -> BackendSpec:
        """What the backend says about itself; the defaults for a callable."""
        if isinstance(self.backend, str):
            return registry().spec(self.backend)
        return BackendSpec(name=getattr(self.backend, "__name__", "memory"), target="", summary="")

    @property
    def is_exact(self) -> bool:
        if self.exact is not None:
            return self.exact
        return self.spec.exact if isinstance(self.backend, str) else self.make().exact

    @property
    def floor(self) -> float:
        return self.spec.recall_floor if self.recall_floor is None else self.recall_floor

    def ensure_recall(self, what: str, hits: Tensor) -> None:
        """Raise AssertionError unless the share of hits is at least the recall floor (1 for exact search)."""
        floor = 1.0 if self.is_exact else self.floor
        share = hits.double().mean().item()
        ensure(share >= floor, f"{what}: recall {share:.3f}, promised is {floor:.3f}")

    @property
    def narrow_dtypes(self) -> tuple[str, ...]:
        """The dtypes of fewer than 32 bits that the backend offers for its store, beside the subject's own options."""
        if not isinstance(self.backend, str):
            return ()
        model: type[BackendOptions] = getattr(registry().backend_class(self.backend), "Options", BackendOptions)
        field = model.model_fields.get("dtype")
        offered = get_args(field.annotation) if field else ()
        return tuple(name for name in ("float16", "bfloat16", "int8") if name in offered and self._takes(dtype=name))

    def _with(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The subject's options, and these on top."""
        return {**(self.spec.test_options if self.options is None else self.options), **options}

    def _takes(self, **options: Any) -> bool:
        """Whether these options can be set on top of the subject's own."""
        try:
            registry().options(self.spec.name, self._with(options))
        except OptionsError:
            return False
        return True
