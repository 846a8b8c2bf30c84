"""Promises about saved state: the data in a form that every backend loads, refused whole if it does not fit."""

from collections.abc import Callable
from dataclasses import replace

import torch
from safetensors.torch import load, save
from torch import Tensor

from memstack.contract.errors import StateError
from memstack.testing.assertions import ensure, ensure_raises, ensure_same_answer, ensure_same_state
from memstack.testing.harness import CHUNK, SHAPE, Harness, Trial

State = dict[str, Tensor]


class StateContract(Harness):
    """What is saved and loaded."""

    def test_the_state_is_the_data(self) -> None:
        """The state holds keys and values, oldest first and padded with zeros, and the counters: no index."""
        for history in ((), (5,), (CHUNK,) * 4):
            trial = self._trial(history)
            ensure_same_state("the state", trial.memory.state_dict(), trial.oracle.state_dict())
        trial.reset(True, False, False)
        trial.add(3)
        ensure_same_state("the state of uneven rows", trial.memory.state_dict(), trial.oracle.state_dict())

    def test_a_state_saved_elsewhere_loads(self) -> None:
        """The state that any other backend saved loads, and the memory goes on from there."""
        saved = self._uneven_trial()
        trial = self.trial()
        trial.add(9)
        trial.memory.load_state_dict(saved.oracle.state_dict())
        trial.oracle = saved.oracle
        ensure_same_state("the state after loading", trial.memory.state_dict(), saved.oracle.state_dict())
        for _ in range(4):
            trial.check()
            trial.add(CHUNK)

    def test_a_state_without_a_format_loads(self) -> None:
        """A state from before formats had numbers loads as one of the first."""
        saved = self._uneven_trial()
        trial = self.trial()
        trial.memory.load_state_dict(
            {name: part for name, part in saved.memory.state_dict().items() if name != "format"}
        )
        ensure_same_state("the state after loading", trial.memory.state_dict(), saved.oracle.state_dict())

    def test_a_state_saved_here_loads(self) -> None:
        """A memory that loads its own backend's state holds the same data, positions included."""
        saved = self._uneven_trial()
        state = saved.memory.state_dict()
        trial = self.trial()
        trial.memory.load_state_dict(state)
        trial.oracle = saved.oracle
        ensure_same_state("the state after loading", trial.memory.state_dict(), state)
        trial.check(k=2 * SHAPE.capacity)

    def test_a_state_of_an_empty_memory(self) -> None:
        """An empty memory's state loads and forgets what was there."""
        trial = self.trial()
        trial.add(CHUNK)
        trial.memory.load_state_dict(self.make().state_dict())
        trial.oracle.reset([True] * SHAPE.rows)
        trial.check()

    def test_a_state_survives_safetensors(self) -> None:
        """The state can be written with safetensors and read back."""
        trial = self._uneven_trial()
        state = load(save(trial.memory.state_dict()))
        trial.memory.load_state_dict(state)
        ensure_same_state("the state after safetensors", trial.memory.state_dict(), trial.oracle.state_dict())
        trial.check()

    def test_a_state_is_a_copy(self) -> None:
        """A state shares nothing with the memory that saved or loaded it."""
        trial = self._uneven_trial()
        state = trial.memory.state_dict()
        trial.memory.load_state_dict(state)
        for part in state.values():
            part.zero_()
        ensure_same_state("the state", trial.memory.state_dict(), trial.oracle.state_dict())
        trial.check()
        kept = trial.memory.state_dict()
        copies = {name: part.clone() for name, part in kept.items()}
        trial.add(CHUNK)
        ensure_same_state("a state saved before an add", kept, copies)

    def test_a_loaded_memory_answers_alike(self) -> None:
        """For exact search, the answers after loading are those from before saving."""
        trial = self._uneven_trial()
        other = self.make()
        other.load_state_dict(trial.memory.state_dict())
        queries = trial.data.queries(4)
        before, after = trial.search(queries, 5), other.search(queries, 5)
        if self.is_exact:
            ensure_same_answer("after loading", after, before)
        ensure(torch.equal(after.mask.any(-1), before.mask.any(-1)), "after loading, a row finds nothing any more")

    def test_a_state_that_does_not_fit(self) -> None:
        """A state of another shape, or a damaged one, raises StateError and nothing stored is lost."""
        trial = self._uneven_trial()
        for what, spoil in MISFITS.items():
            state = spoil(trial.memory.state_dict())
            ensure_raises(StateError, what, lambda: trial.memory.load_state_dict(state))  # noqa: B023
            ensure_same_state(f"the state after {what}", trial.memory.state_dict(), trial.oracle.state_dict())
        trial.check()

    def test_a_state_of_another_shape(self) -> None:
        """The state of a memory of another shape raises StateError, whichever number differs."""
        trial = self._uneven_trial()
        for axis in ("rows", "heads", "key_dim", "value_dim", "capacity"):
            other = self.trial(replace(SHAPE, **{axis: getattr(SHAPE, axis) + 1}))
            other.add(CHUNK)
            state = other.memory.state_dict()
            ensure_raises(StateError, f"other {axis}", lambda: trial.memory.load_state_dict(state))  # noqa: B023
        trial.check()

    def _trial(self, history: tuple[int, ...]) -> Trial:
        trial = self.trial()
        for n in history:
            trial.add(n)
        return trial

    def _uneven_trial(self) -> Trial:
        """One row over its capacity, one partly filled, one empty."""
        trial = self._trial((SHAPE.capacity, 7))
        trial.reset(False, True, True)
        trial.add(CHUNK)
        trial.reset(False, False, True)
        return trial


def _without(name: str) -> Callable[[State], State]:
    return lambda state: {key: part for key, part in state.items() if key != name}


def _shortened(name: str) -> Callable[[State], State]:
    return lambda state: state | {name: state[name][:, :, 1:]}


MISFITS: dict[str, Callable[[State], State]] = {
    "a state without keys": _without("keys"),
    "a state without values": _without("values"),
    "a state without counters": _without("written"),
    "a state without its shape": _without("shape"),
    "a state with an entry's keys missing": _shortened("keys"),
    "a state with an entry's values missing": _shortened("values"),
    "a state with the counter of one row": lambda state: state | {"written": state["written"][:1]},
    "a state of a format to come": lambda state: state | {"format": state["format"] + 1},
    "a state with a negative counter": lambda state: state | {"written": -1 - state["written"]},
}
