"""What every bundled backend keeps beyond the contract: freed at once, huge keys, recall over many turnovers."""

import gc
import weakref
from typing import Any

import pytest
import torch
from helpers.scan_memory import SHAPE, entries

from memstack import MemoryShape, create_memory
from memstack.plugins.registry import registry

BACKENDS = [offer.spec.name for offer in registry().offers() if offer.distribution.startswith("memstack ")]


def made(name: str, shape: MemoryShape = SHAPE, **options: Any) -> Any:
    spec = registry().spec(name)
    if missing := spec.missing():
        pytest.skip(f"{name} needs {', '.join(missing)}")
    return create_memory(name, shape, **{**spec.test_options, **options})


@pytest.mark.parametrize("name", BACKENDS)
def test_a_dropped_memory_is_freed_at_once(name: str) -> None:
    """Stores are gigabytes: they must not wait for the garbage collector to find a cycle."""
    memory = made(name, overlap=True)
    gc.collect()
    gc.disable()
    try:
        for seed in range(4):
            memory.add(*entries(20, seed))
            memory.search(torch.zeros(2, 2, 1, 4), 3)
        gone = weakref.ref(memory)
        del memory
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("name", BACKENDS)
def test_huge_keys_are_found(name: str) -> None:
    """Finite keys are fine, whatever their size: a library that squares them must not see infinity."""
    memory = made(name)
    keys, values = entries(24)
    keys[:, :, 3] *= 1e19
    memory.add(keys, values)
    memory.add(1e17 * keys[:, :, :5], values[:, :, :5])
    found = memory.search(keys[:, :, 3:4].sign(), 1)
    assert bool(found.mask.all())
    assert bool(found.scores.isfinite().all())


@pytest.mark.parametrize("name", BACKENDS)
def test_recall_is_kept_over_ten_turnovers(name: str) -> None:
    """Of clustered keys whose clusters move, as much is found after ten rounds of the ring as in the first."""
    shape = MemoryShape(rows=1, heads=2, key_dim=16, value_dim=1, capacity=256)
    memory = made(name, shape)
    random = torch.Generator().manual_seed(3)
    recalls: list[float] = []
    for _ in range(11):
        centres = torch.nn.functional.normalize(torch.randn(1, 2, 16, 16, generator=random), dim=-1)
        keys = centres.repeat(1, 1, 16, 1) + 0.1 * torch.randn(1, 2, 256, 16, generator=random)
        for chunk in keys.split(48, dim=2):
            memory.add(chunk, torch.zeros(*chunk.shape[:3], 1))
        queries = centres + 0.1 * torch.randn(1, 2, 16, 16, generator=random)
        found, truth = memory.search(queries, 8), memory.search_exactly(queries, 8)
        recalls.append(float((found.scores >= truth.scores[..., -1:] - 1e-5).float().mean()))
    floor = registry().spec(name).recall_floor
    assert min(recalls) >= floor
    assert recalls[-1] >= recalls[0] - 0.05
