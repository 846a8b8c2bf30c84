"""Ctrl-C in the midst of a change: at any line, twice in a row and as a real signal; and many threads."""

import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
import torch
from helpers.internals import inside
from memstack_exact.search import ExactMemory
from torch import Tensor

from memstack import IndexedMemory, MemoryBank, MemoryShape, MemstackError, create_memory
from memstack.testing.contract import MemoryContract
from memstack.testing.harness import Trial
from memstack.testing.interrupts import VERBS, interrupt_at_lines
from memstack.wrappers.recall_probe import RecallProbe
from memstack.wrappers.timing import TimedMemory

SHAPE = MemoryShape(rows=2, heads=1, key_dim=4, value_dim=4, capacity=12)


def pairs(value: float, n: int = 7) -> tuple[Tensor, Tensor]:
    """Keys and values that can be told to belong together."""
    return torch.full((2, 1, n, 4), value), torch.full((2, 1, n, 4), value)


def are_whole(memory: Any) -> bool:
    """Whether every value is that of its key, and exact search finds the largest key, which was added last."""
    state = memory.state_dict()
    found = memory.search(torch.ones(2, 1, 1, 4), 1)
    return torch.equal(state["keys"], state["values"]) and bool((found.scores == 4 * state["keys"].amax()).all())


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("wrap", [TimedMemory, RecallProbe])
def test_a_verb_interrupted_at_any_line_within_a_wrapper_is_all_or_nothing(wrap: Any, verb: str) -> None:
    trial = Trial(wrap(ExactMemory(SHAPE)), exact=True)
    assert interrupt_at_lines(trial, verb, every=3) > 5


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("overlap", [False, True])
def test_an_add_interrupted_at_any_line_leaves_whole_pairs(dtype: str, overlap: bool) -> None:
    contract = type("Exact", (MemoryContract,), {"backend": "exact"})()
    trial = contract.trial(SHAPE, dtype=dtype, overlap=overlap)
    assert interrupt_at_lines(trial, "add", every=2) > 20


class Twice(ExactMemory):
    """An interrupt in a write, and another one at the n-th line of recovering from it."""

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__(shape)
        self.left = 0
        store = inside(self, "store")
        self.write = store.write
        store.write = self.cut

    def cut(self, *chunk: Tensor) -> None:
        if self.left:
            sys.settrace(self.trace)
            left, self.again, self.left = self.left, self.left, 0
            self.write(*chunk)
            assert left
            raise KeyboardInterrupt
        self.write(*chunk)

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_globals["__name__"].startswith("memstack.store"):
            self.again -= event == "line"
            if event == "line" and self.again == 0:
                raise KeyboardInterrupt
        return self.trace


@pytest.fixture
def untraced() -> Iterator[None]:
    before = sys.gettrace()
    yield
    sys.settrace(before)


@pytest.mark.parametrize("line", range(3, 60, 4))
def test_a_second_interrupt_is_recovered_from_by_the_next_question(line: int, untraced: None) -> None:
    memory = Twice(SHAPE)
    memory.add(*pairs(1.0))
    memory.left = line
    with pytest.raises(KeyboardInterrupt):
        memory.add(*pairs(2.0))
    sys.settrace(None)
    assert are_whole(memory)
    assert memory.written.tolist() in ([7, 7], [14, 14])


def test_what_was_given_and_has_changed_since_is_never_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """After two interrupts in a row a change is finished later: not with what the caller has put there meanwhile."""
    memory = ExactMemory(SHAPE)
    memory.add(*pairs(1.0))
    keys, values = pairs(2.0)

    def cut(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(inside(memory, "store"), "write", cut)
        patched.setattr("memstack.store.changes.Addition.secure", cut)
        with pytest.raises(KeyboardInterrupt):
            memory.add(keys, values)
    values.zero_()
    with pytest.raises(MemstackError, match=r"has changed since: rows \[0, 1\] are forgotten"):
        memory.search(keys, 1)
    assert memory.lengths.tolist() == [0, 0]
    memory.add(*pairs(3.0))
    assert are_whole(memory)


@pytest.mark.parametrize("overlap", [False, True])
def test_real_signals_leave_whole_pairs(overlap: bool) -> None:
    memory = create_memory("exact", SHAPE, overlap=overlap)
    before, caught = signal.signal(signal.SIGINT, signal.default_int_handler), 0
    for turn in range(1, 60):
        timer = threading.Timer(0.002 * (turn % 7), signal.raise_signal, (signal.SIGINT,))
        try:
            timer.start()
            while True:
                memory.add(*pairs(float(turn)))
        except KeyboardInterrupt:
            caught += 1
        timer.join()
        state = memory.state_dict()
        assert torch.equal(state["keys"], state["values"])
    signal.signal(signal.SIGINT, before)
    assert caught == 59


def test_an_interrupted_commit_leaves_each_memory_whole() -> None:
    class Interrupted(ExactMemory):
        def add(self, *_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

    bank = MemoryBank({1: ExactMemory(SHAPE), 2: Interrupted(SHAPE)})
    with pytest.raises(KeyboardInterrupt):
        bank.commit({1: pairs(1.0), 2: pairs(1.0)})
    assert [memory.written.tolist() for memory in bank.values()] == [[7, 7], [0, 0]]
    assert are_whole(bank[1])


def test_many_threads_ask_while_one_adds_in_the_background() -> None:
    memory = create_memory("exact", SHAPE, overlap=True)
    assert isinstance(memory, IndexedMemory)
    wrong: list[BaseException] = []
    done = threading.Event()

    def ask() -> None:
        try:
            while not done.is_set():
                found = memory.search(torch.ones(2, 1, 1, 4), 3)
                assert bool((found.scores[..., :-1] >= found.scores[..., 1:]).all())
                assert memory.lengths.unique().numel() == memory.written.unique().numel() == 1
                state = memory.state_dict()
                assert torch.equal(state["keys"], state["values"])
        except BaseException as error:  # noqa: BLE001 - it is raised in a thread, and told below
            wrong.append(error)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for turn in range(1, 25):
        memory.add(*pairs(float(turn)))
        if turn % 10 == 0:
            memory.reset()
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert are_whole(memory)
