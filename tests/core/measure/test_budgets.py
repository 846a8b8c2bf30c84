"""How long a memory may take: by the clock and of the processor, so that a busy machine gives none up."""

import time

import pytest
from torch import Tensor

from memstack import MemoryShape, create_memory
from memstack.contract.validation import Padded
from memstack.measure import KEY_SETS
from memstack.measure import measurement as module
from memstack.measure.measurement import PATIENCE, TooSlowError, add_entries
from memstack.wrappers.base import MemoryWrapper

SHAPE = MemoryShape(rows=1, heads=1, key_dim=8, value_dim=8, capacity=64)


class Waiting(MemoryWrapper):
    """What adds wait for something else, as they do on a machine that is busy or for a machine that is far."""

    def add(self, keys: Tensor, values: Tensor, lengths: Tensor | None = None, *, padded: Padded = "right") -> None:
        super().add(keys, values, lengths, padded=padded)
        time.sleep(0.05)


def fill(limit_s: float) -> None:
    add_entries(Waiting(create_memory("exact", SHAPE)), KEY_SETS["isotropic"](SHAPE, 0), 64, 8, limit_s)


def test_a_budget_is_not_spoiled_by_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight adds of 0.05 s by the clock, hardly any of the processor."""
    monkeypatch.setattr(module.time, "process_time", lambda: 0.0)
    fill(limit_s=0.1)


def test_a_memory_that_waits_for_ever_is_given_up_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "process_time", lambda: 0.0)
    with pytest.raises(TooSlowError, match=r"more than the 0\.001 s allowed"):
        fill(limit_s=0.001)


@pytest.mark.parametrize(
    ("clock", "processor", "over"),
    [(1.5, 1.5, True), (0.5, 4.0, False), (4.0, 0.5, False), (PATIENCE + 0.1, 0.0, True)],
)
def test_both_clocks_have_to_agree(clock: float, processor: float, over: bool) -> None:
    assert module._is_over(clock, processor, 1.0) is over
