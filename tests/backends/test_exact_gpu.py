"""Exact search on a GPU, in Triton's interpreter: it finds what float64 finds, whatever the keys are."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Literal

import pytest
import torch
from helpers.hard_keys import DIM, MEMORIES, nearly_equal, of_all_lengths, random, repeating, unit, zeros
from helpers.variants import variants
from memstack_exact import choice
from memstack_exact.gpu import first_pass as gpu
from torch import Tensor

from memstack import BackendUnavailableError, IndexedMemory, MemoryShape
from memstack.store import StoreOptions

if find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)

# numpy, which the interpreter computes with, warns of what a GPU does silently and the first pass then looks at again.
pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")

Precision = Literal["bfloat16", "int8"]
Q = 4
CPU = torch.device("cpu")
PRECISIONS: tuple[Precision, ...] = ("bfloat16", "int8")


def in_pairs(n: int) -> Tensor:
    """Every key twice, in one bucket when there are enough of them."""
    return unit(-(-n // 2)).repeat(1, 2, 1)[:, :n]


def tiny(n: int) -> Tensor:
    """Squares, and products with tiny queries, are nothing in float32."""
    return 1e-25 * unit(n)


def huge(n: int) -> Tensor:
    """Squares are infinite in float32."""
    return 1e25 * unit(n)


def negative(n: int) -> Tensor:
    """No key has a positive score with the last query."""
    keys = unit(n)
    return keys * -(keys @ keys[:, :1].mT).sign()


KEYS = (unit, repeating, in_pairs, nearly_equal, of_all_lengths, tiny, huge, zeros, negative)
MANY = (unit, repeating, nearly_equal, of_all_lengths)
"""Of which there are so many that they fill several tiles: the interpreter needs seconds for each."""


SIZES = (*itertools.product(KEYS, ((1, 1), (65, 32))), *itertools.product(MANY, ((2200, 32),)))
SEARCHED = [(make, *size, precision) for (make, size), precision in itertools.product(SIZES, PRECISIONS)]
OFTEN = [each for each in SEARCHED if each[1:] == (65, 32, "int8") or each[0] is unit]


class Counted:
    """How many queries had to be searched for in full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.queries = 0
        self.search = gpu._search_in_full
        monkeypatch.setattr(gpu, "_search_in_full", self)

    def __call__(self, keys: Tensor, lengths: Tensor, queries: Tensor, failed: Tensor, found: Tensor) -> None:
        self.queries += int(failed.sum())
        self.search(keys, lengths, queries, failed, found)


@pytest.fixture
def in_full(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def passed(keys: Tensor, queries: Tensor, k: int, precision: Precision) -> Tensor:
    """Slots found in one row of keys (heads, n, dim)."""
    heads, n, dim = keys.shape
    shape = MemoryShape(rows=1, heads=heads, key_dim=dim, value_dim=1, capacity=n)
    first = gpu.GpuFirstPass(shape, CPU, precision, keys.dtype)
    first.write(torch.tensor([0]), torch.arange(n)[None], keys[None])
    return first.search(keys[None], torch.tensor([n]), queries[None], k)[0]


def expect_best(keys: Tensor, queries: Tensor, slots: Tensor, k: int) -> None:
    """Nothing but the rounding of float32 sums, and products too small for it, may decide between two keys."""
    n, dim = keys.shape[-2:]
    scores = queries.double() @ keys.double().mT
    true = scores.topk(min(k, n)).values
    assert ((slots >= 0).sum(-1) == min(k, n)).all()
    assert all(len(row) == len(set(row)) for row in (row[row >= 0].tolist() for row in slots.flatten(0, -2)))
    found = torch.where(slots >= 0, scores.gather(-1, slots.clamp(min=0)), -torch.inf).sort(-1, descending=True).values
    lengths = queries.double().norm(dim=-1)[..., None] * keys.double().norm(dim=-1).amax(-1)[:, None, None]
    assert ((true - found[..., : true.shape[-1]]) <= dim * (2.0**-23 * lengths + 2.0**-126)).all()


@pytest.mark.parametrize(
    ("make", "n", "k", "precision"),
    variants(SEARCHED, OFTEN),
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_it_finds_the_true_neighbours(make: Callable[[int], Tensor], n: int, k: int, precision: Precision) -> None:
    keys = make(max(n, 4))[:, :n]
    like_a_key = keys[:, :1] / keys.abs().amax().clamp(min=1e-30)
    queries = torch.cat([random(MEMORIES, 1, DIM), like_a_key, torch.zeros(MEMORIES, 1, DIM), unit(1)], 1)
    expect_best(keys, queries, passed(keys, queries, k, precision), k)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("dim", "n", "q", "k"),
    [(1, 200, 3, 4), (32, 4160, 1, 8), (256, 70, 2, 3), pytest.param(80, 300, 17, 5, marks=pytest.mark.long)],
)
def test_sizes_that_are_no_tiles(dim: int, n: int, q: int, k: int, precision: Precision) -> None:
    keys, queries = unit(n, dim), random(MEMORIES, q, dim)
    expect_best(keys, queries, passed(keys, queries, k, precision), k)


@pytest.mark.parametrize(("make", "most"), [(unit, 0), (in_pairs, 0), (repeating, 1.0)])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_only_what_repeats_is_searched_for_in_full(
    make: Callable[[int], Tensor], most: float, precision: Precision, in_full: Counted
) -> None:
    keys, queries = make(2200), random(MEMORIES, Q, DIM)
    passed(keys, queries, 8, precision)
    assert in_full.queries == most * MEMORIES * Q


def test_a_bucket_with_two_of_the_best_is_opened(in_full: Counted) -> None:
    """Keys 1,088 apart share a column of a run of two tiles; nothing is missed, and nothing searched for in full."""
    keys, queries = unit(2176), random(MEMORIES, 3, DIM)
    best = (queries[:, :1] @ keys.mT).argmax(-1)
    neighbour = best // 128 * 128 + (best + 64) % 128
    keys.scatter_(1, neighbour[..., None].expand(-1, -1, DIM), keys.gather(1, best[..., None].expand(-1, -1, DIM)))
    for precision in PRECISIONS:
        slots = passed(keys, queries, 4, precision)
        expect_best(keys, queries, slots, 4)
        assert (slots[:, 0] == best).any(-1).all()
        assert (slots[:, 0] == neighbour).any(-1).all()
    assert in_full.queries == 0


class Passed(IndexedMemory):
    """A memory whose index is the first pass, as exact search on a GPU has it."""

    precision: Precision = "int8"

    def __init__(self, shape: MemoryShape, options: IndexedMemory.Options | None = None) -> None:
        super().__init__(shape, options)
        self.first_pass = gpu.GpuFirstPass(shape, self.device, self.precision, self.dtype)

    def index_add(self, rows: Tensor, slots: Tensor, keys: Tensor) -> None:
        self.first_pass.write(rows, slots, keys)

    def index_search(self, queries: Tensor, k: int) -> Tensor:
        keys = self.stored_keys
        assert isinstance(keys, Tensor)
        return self.first_pass.search(keys, self.written, queries, k)

    def index_forget(self, rows: Tensor) -> None:
        pass


class PassedInHalf(Passed):
    precision = "bfloat16"


@pytest.mark.parametrize("memory_class", [Passed, PassedInHalf])
@pytest.mark.parametrize("dtype", variants(["float32", "bfloat16", "float16"], ["bfloat16"]))
def test_a_memory_finds_what_exact_search_finds(memory_class: type[Passed], dtype: str) -> None:
    """In a ring that has gone round, in rows of different lengths, one of them empty, with two queries a head."""
    memory = memory_class(
        MemoryShape(rows=3, heads=1, key_dim=20, value_dim=4, capacity=300),
        IndexedMemory.Options.model_validate({"dtype": dtype}),
    )
    for n, row in ((200, 0), (250, 1), (130, 2)):
        # Lengths that grow: what has left must not count.
        memory.add(random(3, 1, n, 20) * n, random(3, 1, n, 4))
        memory.reset(torch.arange(3) == row)
    queries = random(3, 2, 3, 20)
    found, true = memory.search(queries, 16), memory.search_exactly(queries, 16)
    assert memory.lengths.tolist() == [300, 130, 0]
    torch.testing.assert_close(found.scores, true.scores)
    assert (found.positions == true.positions).float().mean() > 0.98  # the rest tie in half precision


def test_what_a_row_has_forgotten_costs_nothing(in_full: Counted) -> None:
    """The bound on the rounding is that of the live keys, not of large ones that the slots behind them still hold."""
    memory = Passed(MemoryShape(rows=2, heads=1, key_dim=20, value_dim=1, capacity=500))
    keys = random(2, 1, 300, 20)
    keys[0, :, 250:] *= 1e6
    memory.add(keys, random(2, 1, 300, 1))
    memory.reset(torch.tensor([True, False]))
    memory.add(random(2, 1, 200, 20), random(2, 1, 200, 1))
    memory.search(random(2, 1, 2, 20), 4)
    assert in_full.queries == 0


@pytest.mark.parametrize("precision", PRECISIONS)
def test_slots_come_in_order_and_none_twice(precision: Precision) -> None:
    """Which the store relies on, as exact search's ``in_order`` says."""
    for slots in passed(unit(200), random(MEMORIES, Q, DIM), 32, precision).flatten(0, -2):
        live = slots[slots >= 0]
        assert len(live) == 32
        assert bool((live[1:] > live[:-1]).all())


def test_a_store_of_bfloat16_is_not_kept_twice() -> None:
    shape = MemoryShape(rows=1, heads=1, key_dim=8, value_dim=1, capacity=64)
    assert gpu.GpuFirstPass(shape, CPU, "bfloat16", torch.bfloat16)._codes is None
    assert gpu.GpuFirstPass(shape, CPU, "bfloat16", torch.float32)._codes is not None


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_bytes_that_it_says_are_those_that_it_keeps(precision: Precision) -> None:
    shape = MemoryShape(rows=2, heads=3, key_dim=8, value_dim=1, capacity=64)
    for dtype in (torch.float32, torch.bfloat16):
        made = gpu.GpuFirstPass(shape, CPU, precision, dtype)
        kept = [each for each in (made._residual, made._norm, made._scale, made._codes) if each is not None]
        beside = 0 if precision == "int8" else made._scale.nbytes  # one number, whatever the shape
        assert made.bytes_of(shape) == sum(each.nbytes for each in kept) - beside


def test_it_proves_right_or_says_how_it_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu.why_wrong(CPU, "bfloat16", 20) == ""
    monkeypatch.setattr(gpu.GpuFirstPass, "search", lambda *_: torch.zeros(1, 1, 5, 8, dtype=torch.int64))
    assert "not close" in gpu.why_wrong.__wrapped__(CPU, "bfloat16", 20)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> StoreOptions:
    """A store on a GPU, whose first pass stays on the CPU."""
    made = gpu.GpuFirstPass
    monkeypatch.setattr(gpu, "GpuFirstPass", lambda shape, _, *which: made(shape, CPU, *which))
    monkeypatch.setattr(gpu, "why_wrong", lambda *_: "")
    return StoreOptions().model_copy(update={"device": "cuda"})


def test_auto_takes_it_for_large_memories(card: StoreOptions) -> None:
    small = MemoryShape(rows=1, heads=1, key_dim=4, value_dim=1, capacity=choice.FAR - 1)
    large = replace(small, capacity=choice.FAR)
    assert choice.choose_first_pass("auto", small, card) is None
    assert choice.first_pass_bytes("auto", small, card) == 0
    chosen = choice.choose_first_pass("auto", large, card)
    assert chosen is not None
    assert choice.first_pass_bytes("auto", large, card) == chosen.bytes_of(large) == choice.FAR * (2 * 4 + 8)
    assert choice.choose_first_pass("auto", large, card.model_copy(update={"dtype": "int8"})) is None
    assert choice.first_pass_bytes("int8", small, card) == small.capacity * (4 + 12)


def test_auto_does_without_one_that_is_wrong(
    card: StoreOptions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpu, "why_wrong", lambda *_: "it found other neighbours")
    shape = MemoryShape(rows=1, heads=1, key_dim=4, value_dim=1, capacity=choice.FAR)
    assert choice.choose_first_pass("auto", shape, card) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "does without its first pass: its kernels fail on cuda: it found other neighbours" in caplog.text
    assert choice.choose_first_pass("bfloat16", shape, card) is not None


def test_where_it_cannot_run_that_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = MemoryShape(rows=1, heads=1, key_dim=300, value_dim=1, capacity=64)
    with pytest.raises(BackendUnavailableError, match="key_dim up to 256, not 300"):
        gpu.GpuFirstPass(shape, CPU)
    monkeypatch.setattr(gpu, "_interpreted", lambda: False)
    with pytest.raises(BackendUnavailableError, match="needs a CUDA device, not cpu"):
        gpu.GpuFirstPass(shape, CPU)
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailableError, match="needs triton: pip install"):
        gpu.GpuFirstPass(shape, CPU)


@pytest.mark.parametrize("memory_class", [Passed, PassedInHalf])
@pytest.mark.parametrize("query", [torch.nan, torch.inf, 1e20])
def test_an_empty_row_finds_nothing_whatever_is_asked(memory_class: type[Passed], query: float) -> None:
    memory = memory_class(MemoryShape(rows=2, heads=1, key_dim=16, value_dim=2, capacity=40), IndexedMemory.Options())
    memory.add(random(2, 1, 8, 16), random(2, 1, 8, 2))
    memory.reset(torch.tensor([False, True]))
    found = memory.search(torch.full((2, 1, 3, 16), query), 4)
    assert not bool(found.mask[1].any())
