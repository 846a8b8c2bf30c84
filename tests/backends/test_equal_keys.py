"""Equal and nearly equal keys: every backend finds at its default options what it finds of any others."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from memstack import MemoryShape, create_memory
from memstack.contract.metrics import recall_by_score
from memstack.measure.keysets import KEY_SETS
from memstack.plugins.registry import registry

OURS = [offer.spec for offer in registry().offers() if offer.distribution.startswith("memstack ")]
BACKENDS = [spec.name for spec in OURS if not spec.needs_options]
N, DIM = 2560, 32
SHAPE = MemoryShape(rows=1, heads=1, key_dim=DIM, value_dim=1, capacity=N)


def random(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def unit(n: int, seed: int = 0) -> Tensor:
    return normalize(random(1, 1, n, DIM, seed=seed), dim=-1)


def clustered(n: int) -> Tensor:
    return KEY_SETS["clustered"](SHAPE).keys(n)


def equal() -> Tensor:
    return unit(1).expand(1, 1, N, DIM)


def zeros() -> Tensor:
    return torch.zeros(1, 1, N, DIM)


def zeros_but_few() -> Tensor:
    return torch.cat([torch.zeros(1, 1, N - 3, DIM), unit(3)], 2)


def half_equal() -> Tensor:
    """One key, a padding token's, every other time."""
    return torch.where((torch.arange(N) % 2 == 0)[:, None], clustered(N), unit(1))


def half_zeros() -> Tensor:
    return torch.where((torch.arange(N) % 2 == 0)[:, None], clustered(N), torch.zeros(()))


def half_of_a_document_repeated() -> Tensor:
    return clustered(N // 2).repeat(1, 1, 2, 1)


def nearly_equal() -> Tensor:
    return unit(1) + 1e-4 * random(1, 1, N, DIM)


def boilerplate() -> Tensor:
    """The same forty tokens, hardly changed by what is before them, between others."""
    lines = unit(40)[:, :, torch.arange(N // 2) % 40] + 1e-5 * random(1, 1, N // 2, DIM)
    return torch.cat([clustered(N // 2), lines], 2)


def along_a_line() -> Tensor:
    return unit(1) * torch.linspace(0.01, 10, N)[torch.randperm(N, generator=torch.Generator().manual_seed(1)), None]


def along_a_line_both_ways() -> Tensor:
    return along_a_line() - 5 * unit(1)


SETS = (
    equal,
    zeros,
    zeros_but_few,
    half_equal,
    half_zeros,
    half_of_a_document_repeated,
    nearly_equal,
    boilerplate,
    along_a_line,
    along_a_line_both_ways,
)


@pytest.mark.parametrize("make", SETS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", BACKENDS)
def test_keys_that_are_alike_are_found_as_any_others(name: str, make: Callable[[], Tensor]) -> None:
    """Recall by score: of entries that tie, or differ by less than a thousandth, any is right."""
    if missing := registry().spec(name).missing():
        pytest.skip(f"{name} needs {', '.join(missing)}")
    memory, keys = create_memory(name, SHAPE), make()
    for chunk in keys.split(512, 2):
        memory.add(chunk, chunk[..., :1])
    near = keys[:, :, torch.linspace(0, N - 1, 48).long()]
    for queries in (near, near + 0.1 * unit(48, seed=2), -near - 0.1 * unit(48, seed=3)):
        found, truth = memory.search(queries, 16), memory.search_exactly(queries, 16)
        assert recall_by_score(found, truth, tolerance=1e-3) >= registry().spec(name).recall_floor
