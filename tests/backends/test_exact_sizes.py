"""Sizes beyond what the compiled first pass can count or add are refused when a memory is made."""

from dataclasses import replace

import pytest
import torch
from helpers.first_pass import FORMS, forced
from memstack_exact.cpu.first_pass import WIDEST, CpuFirstPass

from memstack import BackendUnavailableError, MemoryShape, create_memory


@pytest.mark.parametrize("form", FORMS)
def test_sums_that_32_bits_do_not_hold_are_refused(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with forced(form, monkeypatch):
        refused_beyond_the_widest()


def refused_beyond_the_widest() -> None:
    widest = MemoryShape(rows=1, heads=1, key_dim=WIDEST, value_dim=1, capacity=16)
    wider = replace(widest, key_dim=WIDEST + 1)
    with pytest.raises(BackendUnavailableError, match="up to 132,104, not 132,105: set it to 'none'"):
        create_memory("exact", wider, first_pass="int8")
    longest = MemoryShape(rows=1, heads=1, key_dim=1, value_dim=1, capacity=1 << 31)
    with pytest.raises(BackendUnavailableError, match="enough for a capacity up to 2,147,483,647"):
        CpuFirstPass(longest)
    for shape, name, dtype in ((widest, "int8", "float32"), (widest, "int8", "int8"), (wider, "auto", "float32")):
        memory, size = create_memory("exact", shape, first_pass=name, dtype=dtype), (1, 1, 16, shape.key_dim)
        steps = torch.arange(1, 17).view(1, 1, 16, 1)
        # All codes are 127, and so large a sum as there can be: only the scales differ.
        memory.add(steps.expand(size).float(), torch.zeros(1, 1, 16, 1))
        for sign in (1, -1):
            found = memory.search(torch.full((1, 1, 1, shape.key_dim), float(sign)), 3)
            assert found.positions.flatten().tolist() == ([15, 14, 13] if sign == 1 else [0, 1, 2])
