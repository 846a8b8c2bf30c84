"""Exact search by an 8-bit first pass: it finds what float64 finds, whatever the keys are."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from memstack_exact import first_pass
from torch import Tensor
from torch.nn.functional import normalize

from memstack import BackendUnavailableError, MemoryShape, create_memory


def unavailable() -> str:
    """Why the pass cannot run here, if it cannot."""
    try:
        first_pass.kernel()
    except BackendUnavailableError as error:
        return str(error)
    return ""


WHY_NOT = unavailable()
needs_kernel = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "the kernel runs here")
MEMORIES, DIM = 2, 24


def random(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(0))


def unit(n: int) -> Tensor:
    return normalize(random(MEMORIES, n, DIM), dim=-1)


def repeating(n: int) -> Tensor:
    return unit(7)[:, torch.arange(n) % 7]


def nearly_equal(n: int) -> Tensor:
    """Scores that differ by less than a code does."""
    return unit(1) + 1e-4 * random(MEMORIES, n, DIM)


def of_all_lengths(n: int) -> Tensor:
    """From 1e-20 to 1e15, side by side."""
    return unit(n) * torch.logspace(-20, 15, n)[torch.randperm(n, generator=torch.Generator().manual_seed(1)), None]


def one_coordinate(n: int) -> Tensor:
    """One number so large that all others are rounded to nothing."""
    keys = random(MEMORIES, n, DIM)
    keys[..., 0] = 1000
    return keys


def zeros(n: int) -> Tensor:
    return torch.cat([torch.zeros(MEMORIES, n - 3, DIM), random(MEMORIES, 3, DIM)], 1)


def descending(n: int) -> Tensor:
    """Best last for every query that resembles the first: the threshold rises with every key."""
    keys = unit(n)
    return keys.gather(1, (keys @ keys[:, :1].mT).argsort(1).expand(-1, -1, DIM))


KEYS = (unit, repeating, nearly_equal, of_all_lengths, one_coordinate, zeros, descending)


@needs_kernel
@pytest.mark.parametrize("k", [1, 32])
@pytest.mark.parametrize("n", [1, 15, 160, 5000])
@pytest.mark.parametrize("make", KEYS, ids=lambda make: make.__name__)
def test_it_finds_the_true_neighbours(make: Callable[[int], Tensor], n: int, k: int) -> None:
    keys = make(max(n, 4))[:, :n]
    queries = torch.cat([random(MEMORIES, 20, DIM), keys[:, :1], keys[:, :1] * 3, torch.zeros(MEMORIES, 1, DIM)], 1)
    passed = first_pass.FirstPass(MemoryShape(rows=1, heads=MEMORIES, key_dim=DIM, value_dim=1, capacity=n))
    passed.write(torch.tensor([0]), torch.arange(n)[None], keys[None])
    slots = passed.search(keys[None], torch.tensor([n]), queries[None], k)[0]
    scores = queries.double() @ keys.double().mT
    found = torch.where(slots >= 0, scores.gather(-1, slots.clamp(min=0)), -torch.inf).sort(-1, descending=True).values
    true = scores.topk(min(k, n)).values
    lengths = queries.double().norm(dim=-1)[..., None] * keys.double().norm(dim=-1).amax()
    # Nothing but the rounding of float32 sums may decide between two keys.
    assert ((true - found[..., : true.shape[-1]]) <= DIM * first_pass.FLOAT_ERROR * lengths).all()
    assert ((slots >= 0).sum(-1) >= min(k, n)).all()
    assert all(len(row) == len(set(row)) for row in (row[row >= 0].tolist() for row in slots.flatten(0, 1)))


@needs_kernel
@pytest.mark.parametrize("asked", [1, 3, 64, 200])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_memory_finds_the_same_with_it_and_without(asked: int, dtype: str) -> None:
    """In a ring that has gone round, in rows of different lengths."""
    shape = MemoryShape(rows=3, heads=2, key_dim=20, value_dim=4, capacity=700)
    plain, fast = (create_memory("exact", shape, dtype=dtype, first_pass=name) for name in ("none", "int8"))
    for memory in (plain, fast):
        for n, row in ((400, 0), (500, 1), (300, None)):
            memory.add(random(3, 2, n, 20) * math.sqrt(n), random(3, 2, n, 4))
            if row is not None:
                memory.reset(torch.arange(3) == row)
    queries = random(3, 4, asked, 20)
    found, true = fast.search(queries, 16), plain.search(queries, 16)
    torch.testing.assert_close(found.scores, true.scores)
    assert (found.positions == true.positions).float().mean() > 0.99  # the rest tie in half precision


@needs_kernel
def test_a_query_that_is_not_finite_harms_no_other() -> None:
    shape = MemoryShape(rows=1, heads=1, key_dim=8, value_dim=1, capacity=64)
    memory = create_memory("exact", shape, first_pass="int8")
    memory.add(random(1, 1, 64, 8), random(1, 1, 64, 1))
    queries = random(1, 1, 3, 8)
    queries[..., 1, :] = torch.nan
    found = memory.search(queries, 4)
    assert found.mask[0, 0].sum(-1).tolist() == [4, 0, 4]


def no_ninja() -> bytes:
    raise RuntimeError("no ninja\nat all")


class OldProcessor(bytes):
    @staticmethod
    def available() -> bool:
        return False


@pytest.mark.parametrize(
    ("broken", "message"),
    [(no_ninja, "failed (no ninja): it needs a C++ compiler"), (OldProcessor, "AVX-512 VNNI")],
)
def test_where_it_cannot_run_that_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: Callable[..., object], message: str
) -> None:
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path))
    monkeypatch.setattr(first_pass, "_compiled", broken)
    monkeypatch.setattr(first_pass, "_loaded", lambda library: broken())
    shape = MemoryShape(rows=1, heads=1, key_dim=8, value_dim=1, capacity=64)
    first_pass.kernel.cache_clear()
    try:
        with pytest.raises(BackendUnavailableError) as caught:
            create_memory("exact", shape, first_pass="int8")
    finally:
        first_pass.kernel.cache_clear()
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
