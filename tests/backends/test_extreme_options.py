"""Extreme values of every option of every backend, in the smallest memories: refused in one line, or it works."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from helpers.variants import variants

from memstack import BackendUnavailableError, MemoryShape, OptionsError, ShapeError, create_memory
from memstack.plugins.registry import registry
from memstack.store import StoreOptions
from memstack.testing.assertions import ensure

BACKENDS = [offer.spec.name for offer in registry().offers() if offer.distribution.startswith("memstack ")]
NUMBERS = (0, 1, 2, 1000, 1 << 31, 1 << 64, 10**30, -1, 1e-300, 0.5, 1 - 1e-16, 1e300, float("inf"), float("nan"))
SHAPES = (
    MemoryShape(rows=1, heads=1, key_dim=1, value_dim=1, capacity=1),
    MemoryShape(rows=2, heads=1, key_dim=3, value_dim=2, capacity=40),
)


def settings(name: str) -> Iterator[dict[str, Any]]:
    """Every option with every extreme value, beside options with which indexes are built at once."""
    backend: Any = registry().backend_class(name)
    model = backend.Options
    small = {"exact_below": 16} if "exact_below" in model.model_fields else {}
    for option, field in model.model_fields.items():
        if option in StoreOptions.model_fields:
            continue
        words = [each for each in get_args(field.annotation) if isinstance(each, str)]
        for value in (*NUMBERS, *words, None, True):
            yield small | {option: value}


def use(name: str, shape: MemoryShape, options: dict[str, Any]) -> None:
    """Fill a memory over its edge and search it for more than there is, unless its options are refused."""
    try:
        memory = create_memory(name, shape, **options)
    except (OptionsError, BackendUnavailableError, ShapeError) as refused:
        ensure(len(str(refused).splitlines()) == 1, f"a refusal should be one line, got {refused}")
        return
    for n in (1, 17, 25, 41):
        size = shape.rows, shape.heads, n
        memory.add(torch.randn(*size, shape.key_dim), torch.randn(*size, shape.value_dim))
        found = memory.search(torch.randn(*size, shape.key_dim), shape.capacity + 3)
        assert found.scores.shape == (*size, shape.capacity + 3)
        assert bool((found.scores.diff(dim=-1).nan_to_num() <= 0).all())


def use_all(name: str) -> None:
    """What a process does that a fault of a library may end."""
    torch.manual_seed(0)
    for options, shape in itertools.product(settings(name), SHAPES):
        print(options, shape, flush=True)  # noqa: T201 - the last line says what was tried when the process ended
        use(name, shape, options)


@pytest.mark.parametrize("name", variants(BACKENDS, ["faiss-ivf", "hnsw", "scann"]))
def test_no_value_of_an_option_ends_or_hangs_a_process(name: str) -> None:
    if missing := registry().spec(name).missing():
        pytest.skip(f"{name} needs {', '.join(missing)}")
    folders = {"PYTHONPATH": ":".join([str(Path(__file__).parent), *filter(None, sys.path)])}
    line = [sys.executable, "-c", f"from test_extreme_options import use_all; use_all({name!r})"]
    done = subprocess.run(line, env=folders, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, f"{done.stdout.splitlines()[-1:]}: {done.stderr[-1000:]}"
