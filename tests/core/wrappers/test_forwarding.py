"""Every wrapper passes on facts and verbs; one that forgets any of them is caught."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from memstack_models.evaluation.recording import Tap
from torch import Tensor

from memstack import Memory
from memstack.testing import check_wrapper
from memstack.wrappers.base import MemoryWrapper
from memstack.wrappers.recall_probe import RecallProbe
from memstack.wrappers.retrieval_log import RetrievalLog
from memstack.wrappers.timing import TimedMemory

WRAPPERS: dict[str, Callable[[Memory], Memory]] = {
    "plain": MemoryWrapper,
    "timed": TimedMemory,
    "timed, waiting": lambda memory: TimedMemory(memory, "cpu"),
    "probed": lambda memory: RecallProbe(memory, every=0),
    "probed and timed": lambda memory: RecallProbe(TimedMemory(memory), every=2),
    "recorded": Tap,
    "logged": RetrievalLog,
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_passes_everything_on(name: str) -> None:
    check_wrapper(WRAPPERS[name])


class ForgetsTheDevice(MemoryWrapper):
    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        self.device = torch.device("cpu")


class ForgetsExactness(MemoryWrapper):
    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        del self.exact


class CountsByItself(MemoryWrapper):
    @property
    def written(self) -> Tensor:
        return self.lengths


class ForgetsLengths(MemoryWrapper):
    def add(self, keys: Tensor, values: Tensor, *_lengths: Any, **_padded: Any) -> None:
        self.memory.add(keys, values)


class ForgetsTheSide(MemoryWrapper):
    def add(self, keys: Tensor, values: Tensor, lengths: Tensor | None = None, **_padded: Any) -> None:
        self.memory.add(keys, values, lengths)


class SearchesItsOwnWay(MemoryWrapper):
    search_exactly = Memory.search_exactly


class SelectsByLoading(MemoryWrapper):
    select = Memory.select


@pytest.mark.parametrize(
    ("wrapper", "what"),
    [
        (ForgetsTheDevice, "the wrapper's device is cpu, the memory inside says meta"),
        (ForgetsExactness, "the wrapper's exact is False, the memory inside says True"),
        (CountsByItself, "written are \\[0, 0\\], the memory inside says \\[7, 9\\]"),
        (ForgetsLengths, "add was passed on with other arguments"),
        (ForgetsTheSide, "add was passed on with other arguments"),
        (SearchesItsOwnWay, "the memory inside was asked add, add, search, reset"),
        (SelectsByLoading, "the memory inside was asked"),
    ],
)
def test_a_wrapper_that_forgets_something_is_caught(wrapper: type[MemoryWrapper], what: str) -> None:
    with pytest.raises(AssertionError, match=what):
        check_wrapper(wrapper)
