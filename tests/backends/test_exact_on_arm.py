"""The first pass's variants for ARM, in an emulator: they find what float64 finds, and are chosen where they run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.emulated import answers, compiled, loop, searched
from helpers.hard_keys import KEYS, asked_of, random
from helpers.true_neighbours import assert_true_neighbours
from memstack_exact.cpu import variants
from torch import Tensor

from memstack import Quantised

PROCESSORS = [
    ("aarch64", "max", "i8mm dotprod plain"),
    ("aarch64", "neoverse-n1", "dotprod plain"),
    ("aarch64", "cortex-a72", "plain"),
    ("x86_64", "Haswell", "avx2 plain"),
    ("x86_64", "Nehalem", "plain"),
]
ASKING = """
#include <cstdio>
#include "processor.cpp"
int main() { char names[64]; variants(names); std::puts(names); }
"""


@pytest.fixture(scope="module", params=variants.MACHINES["aarch64"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return loop(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("make", KEYS, ids=lambda make: make.__name__)
def test_it_finds_the_true_neighbours(program: Path, make: Callable[[int], Tensor]) -> None:
    for n, k in ((1, 32), (15, 1), (160, 32), (3000, 1), (3000, 32)):
        keys = make(max(n, 4))[:, :n]
        queries = asked_of(keys)
        assert_true_neighbours(keys, queries, *searched(program, keys, queries, k), k)
        stored = Quantised.of(keys)
        assert_true_neighbours(stored.to(torch.float32), queries, *searched(program, stored, queries, k), k)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("dim", [1, 7, 33])
def test_widths_that_fill_no_register(program: Path, dim: int, dtype: torch.dtype) -> None:
    keys, queries = random(2, 500, dim).to(dtype), random(2, 7, dim) + 0.5
    assert_true_neighbours(keys, queries, *searched(program, keys, queries, 8), 8)


@pytest.mark.parametrize(("machine", "processor", "names"), PROCESSORS)
def test_a_processor_runs_those_that_it_has_the_instructions_for(
    machine: str, processor: str, names: str, tmp_path: Path
) -> None:
    source = tmp_path / "asking.cpp"
    source.write_text(ASKING)
    program = compiled(machine, source, ("-std=c++17",), tmp_path)
    assert answers(program, machine, processor).decode().strip() == names
