"""Promises about copies: they hold what was copied and share nothing with it, or are refused in one line."""

import copy
import io
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch.optim.swa_utils import AveragedModel

from memstack.bank import MemoryBank
from memstack.contract.errors import CopyError
from memstack.contract.memory import Memory
from memstack.testing.assertions import ensure, ensure_same_answer, ensure_same_state
from memstack.testing.harness import CHUNK, SHAPE, Harness, Trial
from memstack.testing.processes import as_sent, received
from memstack.wrappers.base import MemoryWrapper


class Holder(torch.nn.Module):
    """A model that holds its memory as such, in a bank and within a wrapper."""

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1, device="cpu", dtype=torch.float32)
        self.memory, self.bank, self.wrapped = memory, MemoryBank({0: memory}), MemoryWrapper(memory)


class _Holds(Protocol):
    memory: Memory


def pickled(memory: Any) -> Any:
    """Return what a spawned process would be given."""
    return received(as_sent(memory))


def saved(memory: Any) -> Any:
    """Return what torch.load reads of what torch.save wrote."""
    file = io.BytesIO()
    torch.save(memory, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def averaged(memory: Memory) -> Memory:
    """Return the memory of the model that AveragedModel makes of one that holds this memory."""
    model = cast("_Holds", AveragedModel(Holder(memory)).module)
    return model.memory


WAYS: dict[str, Callable[[Memory], Memory]] = {
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "pickle": pickled,
    "torch.save": saved,
    "AveragedModel": averaged,
}


class CopyContract(Harness):
    """What copies of a memory are."""

    def test_copies_share_nothing(self) -> None:
        """However a memory is copied, both go their own way: neither sees what the other is given, or forgets."""
        for what, way in WAYS.items():
            trial = self._filled()
            found = trial.search(queries := trial.data.queries(4), 6)
            twin = self._twin(what, way, trial)
            if twin is None:
                continue
            _ = found.values  # copying changes nothing
            ensure_same_state(f"the state of a copy by {what}", twin.memory.state_dict(), trial.memory.state_dict())
            self._ensure_apart(what, trial, twin)
            before = trial.search(queries, 6)
            twin.reset(True, True, True)
            ensure_same_answer(f"after a copy by {what} was emptied", trial.search(queries, 6), before)
            twin.add(SHAPE.capacity)
            ensure_same_answer(f"after a copy by {what} was filled again", trial.search(queries, 6), before)

    def test_copies_made_in_any_mode(self) -> None:
        """A copy that is made under no_grad or inference_mode can be used outside of it."""
        for mode in (torch.no_grad, torch.inference_mode):
            for what in ("copy.deepcopy", "pickle", "torch.save"):
                trial = self._filled()
                with mode():
                    twin = self._twin(what, WAYS[what], trial)
                if twin is not None:
                    twin.add(CHUNK)
                    twin.reset(True, False, False)
                    twin.check()

    def test_a_model_is_copied_with_its_memory(self) -> None:
        """What is one memory in a model, its bank and a wrapper is one memory in a copy of it, and another one."""
        for what in ("copy.deepcopy", "pickle", "torch.save"):
            trial = self._filled()
            holder = Holder(trial.memory)
            if (other := _or_refused(what, partial(WAYS[what], cast(Any, holder)))) is None:
                continue
            model = cast(Holder, other)
            ensure(model.memory is not trial.memory, f"{what} of a model left the copy the memory of the other")
            for place, held in (("bank", model.bank[0]), ("wrapper", model.wrapped.memory)):
                ensure(held is model.memory, f"{what} of a model gave its {place} a memory of its own")

    def test_a_memory_is_copied_whatever_is_under_way(self) -> None:
        """A copy holds what was added before it, whether or not that is still being written."""
        for what, way in WAYS.items():
            trial = self.trial()
            for _ in range(3):
                trial.add(CHUNK)
                if (twin := self._twin(what, way, trial)) is not None:
                    twin.check()
            trial.check()

    def _filled(self) -> Trial:
        """A ring that has gone round, one that has not, and an empty one."""
        trial = self.trial()
        trial.add(SHAPE.capacity + 5)
        trial.reset(False, True, True)
        trial.add(CHUNK)
        trial.reset(False, False, True)
        return trial

    def _twin(self, what: str, way: Callable[[Memory], Memory], trial: Trial) -> Trial | None:
        """Return a copy of the memory beside one of the oracle; None where the copy is refused."""
        memory = _or_refused(what, partial(way, trial.memory))
        if memory is None:
            return None
        ensure(type(memory) is type(trial.memory), f"a copy by {what} is a {type(memory).__name__}")
        twin = Trial(memory, trial.exact, seed=5)
        twin.oracle = copy.deepcopy(trial.oracle)
        return twin

    def _ensure_apart(self, what: str, one: Trial, other: Trial) -> None:
        """Give to one and to the other, and look at both each time."""
        for given, left in ((other, one), (one, other)):
            state = left.memory.state_dict()
            given.add(CHUNK)
            ensure_same_state(f"after an add to the other, copied by {what}", left.memory.state_dict(), state)
            for trial in (one, other):
                trial.check()


def _or_refused(what: str, make: Callable[[], Any]) -> Any:
    """Return what is made; None where that is refused, which takes one line."""
    try:
        return make()
    except CopyError as refused:
        lines = str(refused).splitlines()
        ensure(len(lines) == 1, f"a refusal of {what} should be one line, got {len(lines)}")
        return None
