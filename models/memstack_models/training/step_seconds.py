"""How long a step would take here, by a dry run of it and by what small operations of its kinds take.

A product takes its flops at the speed of a small one, any other operation its bytes at the speed of its kind, and each
what a call costs. A search is timed in memories of two small sizes and extrapolated to a full one: on a straight line
where it is exact, else on a power of the number of entries.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from memstack import Memory, MemoryShape, create_memory
from memstack.contract.result import MISSING_SCORE
from memstack.measure.keysets import KEY_SETS
from memstack.measure.timing import time_call
from memstack.plugins.registry import registry
from memstack_models.training.config import RunConfig
from memstack_models.training.dry_run import DryRun, Operation

NUMBERS, AT_ONCE = 1 << 20, 8
"""Of the tensors that operations are timed on, and how many of them are held at once: new memory has its price."""
ROWS = 64
WIDEST = 1024
"""Rows and columns of the products that are timed."""
ENTRIES = 1024, 4096
"""Of the memories that searches are timed in."""
FEW = 64
"""Operations of a chain whose tensors hold next to nothing."""
KINDS = {
    "exp": ("exp", "log"),
    "logsumexp": ("logsumexp",),
    "sum": ("sum", "mean", "linalg_vector_norm"),
    "softmax": ("_softmax", "_softmax_backward_data", "_log_softmax", "_log_softmax_backward_data", "sigmoid"),
    "scattered": ("index_put", "_index_put_impl_", "embedding_dense_backward"),
    "entries": ("mix", "dot"),
}
"""Operations that are not as fast as most; of memstack's own those that read entries of a memory."""
PASSES = 14
"""How often AdamW reads or writes as many numbers as there are parameters."""


@dataclass(frozen=True)
class Speeds:
    """What this machine does in a second, by kind of operation."""

    products: Mapping[str, float]
    """Flops, by whether there is one of them, ``mm``, or one per row and head, ``bmm``."""
    moved: Mapping[str, float]
    """Bytes read and written: by ``KINDS``, and by all that are ``plain``."""
    call: float
    """Seconds that a call takes whatever it does."""

    def seconds(self, operation: Operation) -> float:
        """How long an operation takes."""
        kind = "bmm" if operation.name == "bmm" else "mm"
        product = operation.flops / self.products[kind]
        return self.call + (product if operation.flops else operation.moved / self.moved[_kind(operation.name)])


@dataclass(frozen=True)
class StepSeconds:
    """What a step would take, in seconds."""

    model: float
    """Forward and backward of all parts, but for the searches."""
    search: float
    """Of all memories, when they are full."""
    add: float
    update: float
    """The optimiser's."""

    @property
    def total(self) -> float:
        """All of them."""
        return self.model + self.search + self.add + self.update


def step_seconds(run: RunConfig, dry: DryRun, parameters: int, device: torch.device) -> StepSeconds:
    """Time what is small, and tell from it how long a step would take with full memories."""
    memory = _Searched(run, device) if run.model.memory_layers else None
    speeds = measured_speeds(run, device, memory)
    parts, banks = run.train.accumulation, len(run.model.memory_layers) * run.train.rows
    return StepSeconds(
        model=parts * sum(speeds.seconds(each) for each in dry.operations if each.name != "search"),
        search=banks * memory.search_seconds(run.memory.capacity) if memory else 0.0,
        add=banks * memory.add_seconds() if memory else 0.0,
        update=4 * PASSES * parameters / speeds.moved["plain"],
    )


def measured_speeds(run: RunConfig, device: torch.device, memory: "_Searched | None" = None) -> Speeds:
    """Time operations like those of the run's model, but small."""
    half = run.train.precision == "bfloat16"

    def took(call: Callable[[], object]) -> float:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            return 1e-3 * time_call(call, repeats=5, device=device).median_ms

    moved = _moved(device, took)
    return Speeds(
        products=_products(run, device, took),
        moved=moved | {"entries": memory.entries_a_second() if memory else moved["plain"]},
        call=_call(device, took),
    )


Took = Callable[[Callable[[], object]], float]
"""The seconds of a call."""


def _moved(device: torch.device, took: Took) -> dict[str, float]:
    """Bytes a second, by kind."""
    numbers, per_row = _random(device, ROWS, NUMBERS // ROWS), _random(device, ROWS, 1)
    scores = numbers.clone()
    scores[:, ::2] = MISSING_SCORE  # as hidden ones are, which takes longer
    index = torch.randint(0, ROWS, (NUMBERS // 16,), device=device, dtype=torch.int64)
    few, sums = numbers.flatten()[: len(index)], torch.zeros(ROWS, device=device, dtype=torch.float32)
    return {
        "plain": 8 * AT_ONCE * NUMBERS / took(lambda: [numbers * per_row for _ in range(AT_ONCE)]),
        "exp": 8 * NUMBERS / took(lambda: scores.exp()),
        "logsumexp": 4 * NUMBERS / took(lambda: scores.logsumexp(-1)),
        "softmax": 8 * AT_ONCE * NUMBERS / took(lambda: [scores.softmax(-1) for _ in range(AT_ONCE)]),
        "sum": 4 * NUMBERS / took(lambda: numbers.sum(0)),
        "scattered": 12 * len(index) / took(lambda: sums.index_put((index,), few, accumulate=True)),
    }


def _products(run: RunConfig, device: torch.device, took: Took) -> dict[str, float]:
    """Flops a second, of a product like a layer's and of many like those of its heads."""
    model = run.model
    tokens, heads = min(run.train.segment, WIDEST), min(model.heads * run.train.rows, 32)
    dim, ffn = min(model.dim, WIDEST), min(model.ffn_dim, WIDEST)
    rows, columns = _random(device, max(1, NUMBERS // dim // 2), dim), _random(device, dim, ffn)
    queries, keys = _random(device, heads, tokens, model.head_dim), _random(device, heads, model.head_dim, tokens)
    return {
        "mm": 2 * rows.numel() * ffn / took(lambda: rows @ columns),
        "bmm": 2 * queries.numel() * tokens / took(lambda: queries @ keys),
    }


def _call(device: torch.device, took: Took) -> float:
    """Seconds of a call that does next to nothing, forward and backward."""
    small = _random(device, 1).requires_grad_()

    def chain() -> None:
        with torch.enable_grad():
            last = small
            for _ in range(FEW):
                last = last.mul(small)
            last.backward()

    return took(chain) / (4 * FEW)  # a product forward, two and their sum backward


class _Searched:
    """Memories of the run's backend, of one row, filled with keys that drift as a text's do; timed at small sizes."""

    def __init__(self, run: RunConfig, device: torch.device) -> None:
        model, given = run.model, run.memory
        self._run, self._device = run, device
        dims = {"key_dim": model.head_dim, "value_dim": model.head_dim}
        self._sizes = [min(given.capacity, size) for size in ENTRIES]
        self._filled = [
            self._fill(MemoryShape(rows=1, heads=model.kv_heads, capacity=size, **dims)) for size in self._sizes
        ]
        # Of grouped query heads, as the memory folds them.
        self._queries = self._stream.queries(run.train.segment * model.heads // model.kv_heads)

    def search_seconds(self, entries: int) -> float:
        """A row's, in one layer, with so many entries."""
        (few, many), k = self._sizes, self._run.model.candidates or self._run.memory.neighbours
        fast, slow = (self._took(partial(memory.search, self._queries, k)) for memory in self._filled)
        if entries <= many or slow <= fast:
            return slow
        if registry().spec(self._run.memory.backend).exact:
            return slow + (entries - many) * (slow - fast) / (many - few)
        power = math.log(slow / fast) / math.log(many / few)
        return slow * (entries / many) ** min(power, 1.0)

    def add_seconds(self) -> float:
        """A row's, in one layer, for a segment; what an index does when it is built is not in it."""
        keys = self._stream.keys(min(self._run.train.segment, self._sizes[-1]))
        return self._took(lambda: self._filled[-1].add(keys, keys))

    def entries_a_second(self) -> float:
        """Bytes of entries that are read and summed a second."""
        found = self._filled[-1].search(self._queries, self._run.memory.neighbours)
        weights = found.mask.float()
        return 4 * weights.numel() * self._run.model.head_dim / self._took(lambda: found.mix(weights))

    def _fill(self, shape: MemoryShape) -> Memory:
        memory = self._run.memory
        options = registry().place_options(memory.backend, memory.options, self._device)
        filled = create_memory(memory.backend, shape, **options)
        self._stream = KEY_SETS["drifting"](shape, device=self._device)
        keys = self._stream.keys(shape.capacity)
        filled.add(keys, keys)
        return filled

    def _took(self, call: Callable[[], object]) -> float:
        with torch.no_grad():
            return 1e-3 * time_call(call, repeats=3, device=self._device).median_ms


def _kind(name: str) -> str:
    return next((kind for kind, names in KINDS.items() if name in names), "plain")


def _random(device: torch.device, *size: int) -> Tensor:
    return torch.rand(*size, device=device, dtype=torch.float32)
