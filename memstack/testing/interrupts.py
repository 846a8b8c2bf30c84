"""Promises about interrupts: a verb that is cut off, at whichever line, has done all that it does or nothing.

``interrupt_at_lines`` is for whoever wants to try more of them than the kit does: every line, or another history.
"""

import dis
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import CodeType, FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from memstack.contract.errors import in_one_line
from memstack.contract.memory import Memory
from memstack.testing.assertions import ensure_same_state
from memstack.testing.harness import CHUNK, Trial
from memstack.testing.oracle import Oracle
from memstack.testing.recall import SHAPE as RECALL_SHAPE
from memstack.testing.recall import RecallContract, clustered_keys

TIMES, TIMES_FOR_RECALL = 8, 4
"""Lines of each verb at which the kit interrupts it."""
NewKeys = Callable[[int], Tensor]


class InterruptContract(RecallContract):
    """What is left where a verb was interrupted."""

    def test_an_interrupted_add_is_all_or_nothing(self) -> None:
        """An add interrupted at any line has added all or nothing, and searches are as good as ever."""
        self._interrupt("add")
        self._interrupt("ragged add")

    def test_an_interrupted_reset_is_all_or_nothing(self) -> None:
        """A reset interrupted at any line has forgotten these rows or none."""
        self._interrupt("reset")

    def test_an_interrupted_select_is_all_or_nothing(self) -> None:
        """A select interrupted at any line has moved all rows or none."""
        self._interrupt("select")

    def test_an_interrupted_load_is_all_or_nothing(self) -> None:
        """A load interrupted at any line has replaced everything or nothing."""
        self._interrupt("load")

    def test_recall_after_interrupted_adds(self) -> None:
        """Recall does not fall where adds were interrupted: the index knows what the store holds."""
        trial = self.trial(RECALL_SHAPE)
        self._fill(trial, 3)
        new = partial(clustered_keys, trial.data.random)
        for line in _spread(lines_of(trial, "add", new), TIMES_FOR_RECALL):
            interrupt(trial, "add", line, new)
            self._ensure_floor(trial)

    def _interrupt(self, verb: str) -> None:
        trial = self.trial()
        trial.add(2 * CHUNK)
        lines = _spread(lines_of(trial, verb), TIMES)
        interrupt_at_lines(trial, verb, lines.step, lines.start)


def interrupt_at_lines(trial: Trial, verb: str, every: int = 1, first: int = 1) -> int:
    """Interrupt a verb of a memory at every ``every``-th line that it runs, from the ``first`` on; return how often.

    Of ``VERBS``. The memory is used throughout, so that it is seen to go on as well. Lines count where they are of
    memstack or of the memory's own package. AssertionError says at which line less than all was done, and more than
    nothing.
    """
    line = first
    while interrupt(trial, verb, line):
        line += every
    _go_on(trial)
    trial.check()
    return (line - first) // every


def interrupt(trial: Trial, verb: str, line: int, new: NewKeys | None = None) -> bool:
    """Interrupt a verb at its ``line``-th line, and check what is left; False if it has fewer lines and was done."""
    _go_on(trial, new)
    step = VERBS[verb](trial, new or trial.data.keys)
    where = cut_off(partial(step.ask, trial.memory), line, packages_of(trial.memory))
    what = f"{verb}, interrupted at {where}" if where else verb
    try:
        before = {"nothing": trial.oracle} if where else {}
        trial.oracle = held(trial.memory, before | {"all": step.then})
        trial.check()
    except Exception as error:
        told = str(error) if isinstance(error, AssertionError) else in_one_line(error)
        raise AssertionError(f"after {what}: {told}") from error
    return bool(where)


def lines_of(trial: Trial, verb: str, new: NewKeys | None = None) -> int:
    """Return how many lines a verb has where nothing interrupts it, doing it once."""
    step = VERBS[verb](trial, new or trial.data.keys)
    lines = count_lines(partial(step.ask, trial.memory), packages_of(trial.memory))
    trial.oracle = step.then
    return lines


def count_lines(action: Callable[[], object], packages: frozenset[str]) -> int:
    """Do something and return how many lines of these packages it ran, as ``cut_off`` counts them."""
    counter = _Cut(0, packages)
    _traced(action, counter)
    return -counter.left


def cut_off(action: Callable[[], object], line: int, packages: frozenset[str]) -> str:
    """Do something and raise KeyboardInterrupt at its ``line``-th line in these packages, counted from 1.

    Returns where that was; nothing if there were fewer lines, and all was done.
    """
    cut = _Cut(line, packages)
    try:
        _traced(action, cut)
    except KeyboardInterrupt:
        if not cut.where:
            raise  # somebody's own
    return cut.where


def held(memory: Memory, outcomes: Mapping[str, Oracle]) -> Oracle:
    """Return the oracle that a memory agrees with, of those by what was done; AssertionError if it is none of them."""
    state = memory.state_dict()
    told: list[str] = []
    for outcome, oracle in outcomes.items():
        try:
            ensure_same_state(f"had it done {outcome}", state, oracle.state_dict())
        except AssertionError as error:
            told.append(str(error))
        else:
            return oracle
    raise AssertionError(f"it did neither all nor nothing: {'; '.join(told)}" if len(told) > 1 else told[0])


def packages_of(memory: Memory) -> frozenset[str]:
    """Return the packages that a memory is made of, one inside a wrapper included; neither Python's nor torch's."""
    parts = [part for part in getattr(memory, "__dict__", {}).values() if isinstance(part, Memory)]
    owners = {owner.__module__.partition(".")[0] for owner in type(memory).__mro__} | {"memstack"}
    return frozenset(owners - sys.stdlib_module_names - {"torch"}).union(*map(packages_of, parts))


# What is interrupted ------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """What is asked of a memory, and what it should hold then."""

    ask: Callable[[Memory], None]
    then: Oracle


def _add(trial: Trial, new: NewKeys) -> Step:
    keys, values, then = new(CHUNK), trial.data.values(CHUNK), trial.oracle.copy()
    then.add(keys, values)

    def ask(memory: Memory) -> None:
        memory.add(keys, values)

    return Step(ask, then)


def _ragged_add(trial: Trial, new: NewKeys) -> Step:
    keys, values, then = new(CHUNK), trial.data.values(CHUNK), trial.oracle.copy()
    lengths = [(5, CHUNK, 0)[row % 3] for row in range(trial.memory.shape.rows)]
    then.add(keys, values, lengths, "left")
    counts = torch.tensor(lengths, dtype=torch.int64, device="cpu")

    def ask(memory: Memory) -> None:
        memory.add(keys, values, counts, padded="left")

    return Step(ask, then)


def _reset(trial: Trial, _: NewKeys) -> Step:
    then, rows = trial.oracle.copy(), [row % 2 == 0 for row in range(trial.memory.shape.rows)]
    then.reset(rows)

    def ask(memory: Memory) -> None:
        memory.reset(torch.tensor(rows, dtype=torch.bool, device="cpu"))

    return Step(ask, then)


def _select(trial: Trial, _: NewKeys) -> Step:
    """Two rows change places, the others take over the first one's."""
    rows = trial.memory.shape.rows
    then, chosen = trial.oracle.copy(), [1, *[0] * (rows - 1)] if rows > 1 else [0]
    then.select(chosen)

    def ask(memory: Memory) -> None:
        memory.select(torch.tensor(chosen, dtype=torch.int64, device="cpu"))

    return Step(ask, then)


def _load(trial: Trial, new: NewKeys) -> Step:
    """A state of rows that differ in length; one has overflowed."""
    shape = trial.memory.shape
    then = Oracle(shape, trial.eight_bits)
    n = shape.capacity + 3
    then.add(new(n), trial.data.values(n), [(n, 7, 0)[row % 3] for row in range(shape.rows)])
    state = then.state_dict()

    def ask(memory: Memory) -> None:
        memory.load_state_dict(state)

    return Step(ask, then)


VERBS: dict[str, Callable[[Trial, NewKeys], Step]] = {
    "add": _add,
    "ragged add": _ragged_add,
    "reset": _reset,
    "select": _select,
    "load": _load,
}
"""What can be interrupted, by name."""


def _go_on(trial: Trial, new: NewKeys | None = None) -> None:
    """Add some more, whatever was interrupted before."""
    trial.give((new or trial.data.keys)(CHUNK), trial.data.values(CHUNK))


def _spread(lines: int, times: int) -> range:
    """About so many lines, from all over a verb's."""
    every = max(1, lines // times)
    return range(1 + every // 2, lines + 1, every)


# How it is interrupted ----------------------------------------------------------------------------------------------


class _Cut:
    """A tracer that counts lines, and raises KeyboardInterrupt at one."""

    def __init__(self, line: int, packages: frozenset[str]) -> None:
        self.left, self.packages, self.where = line, packages, ""

    def __call__(self, frame: FrameType, event: str, _: Any) -> "_Cut | None":
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] not in self.packages or name.startswith("memstack.testing"):
            return None
        if event == "line" and not _leaves_with(frame.f_code, frame.f_lasti):
            self.left -= 1
            if self.left == 0:
                self.where = f"line {frame.f_lineno} of {name}"
                raise KeyboardInterrupt
        return self


def _traced(action: Callable[[], object], tracer: _Cut) -> None:
    """Do something under a tracer; whatever it was cut off in, the tracer of before and autograd's mode are back."""
    before, grad = sys.gettrace(), torch.is_grad_enabled()
    sys.settrace(tracer)
    try:
        action()
    finally:
        sys.settrace(before)
        torch.set_grad_enabled(grad)


@lru_cache(maxsize=4096)
def _leaves_with(code: CodeType, at: int) -> bool:
    """Whether a with statement is about to call its __exit__: no signal comes between that and the line before."""
    following = [each for each in dis.get_instructions(code) if each.offset >= at and each.opname not in _BETWEEN][:3]
    return len(following) == 3 and all(each.opname == "LOAD_CONST" and each.argval is None for each in following)


_BETWEEN = ("SWAP", "NOP", "CACHE", "POP_BLOCK")
