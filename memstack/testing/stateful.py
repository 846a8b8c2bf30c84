"""A hypothesis state machine: any sequence of add, select, search, reset, save and load, compared with the oracle."""

from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from memstack.contract.shape import MemoryShape
from memstack.contract.validation import Padded
from memstack.testing.assertions import ensure_same_state
from memstack.testing.harness import Trial

SHAPE = MemoryShape(rows=2, heads=2, key_dim=4, value_dim=3, capacity=40)
# Few sizes, for a backend may compile one program per size: none, one, some, a chunk, the capacity, and more.
COUNTS = st.sampled_from([0, 1, 7, 16, SHAPE.capacity, SHAPE.capacity + 9])
LONGEST = 16
LENGTHS = st.tuples(st.sampled_from([0, 7, LONGEST]), st.sampled_from([1, LONGEST]))
NEIGHBOURS = st.sampled_from([1, 4, SHAPE.capacity + 3])


class MemoryMachine(RuleBasedStateMachine):
    """Drives a memory and the oracle through the same steps."""

    def __init__(self, make: Callable[[MemoryShape], Trial]) -> None:
        super().__init__()
        self.make = make
        self.trial = make(SHAPE)

    @rule(n=COUNTS)
    def add(self, n: int) -> None:
        self.trial.add(n)

    @rule(lengths=LENGTHS, padded=st.sampled_from(["right", "left"]))
    def add_ragged(self, lengths: tuple[int, int], padded: Padded) -> None:
        self.trial.give(self.trial.data.keys(LONGEST), self.trial.data.values(LONGEST), lengths, padded)

    @rule(rows=st.tuples(st.sampled_from([0, 1]), st.sampled_from([0, 1])))
    def select(self, rows: tuple[int, int]) -> None:
        self.trial.select(*rows)

    @rule(k=NEIGHBOURS, group=st.sampled_from([1, 2]))
    def search(self, k: int, group: int) -> None:
        self.trial.check(k, 2, group)

    @rule(rows=st.tuples(st.booleans(), st.booleans()))
    def reset(self, rows: tuple[bool, bool]) -> None:
        self.trial.reset(*rows)

    @rule(into_a_new_one=st.booleans())
    def save_and_load(self, into_a_new_one: bool) -> None:
        state = self.trial.memory.state_dict()
        ensure_same_state("the state", state, self.trial.oracle.state_dict())
        if into_a_new_one:
            self.trial.memory = self.make(SHAPE).memory
        self.trial.memory.load_state_dict(state)

    def teardown(self) -> None:
        """Look at everything once, however the sequence ended."""
        self.trial.check(SHAPE.capacity + 3, 2)
        ensure_same_state("the state", self.trial.memory.state_dict(), self.trial.oracle.state_dict())

    @invariant()
    def lengths_agree(self) -> None:
        self.trial.check_counts()


def run_machine(make: Callable[[MemoryShape], Trial], examples: int = 30, steps: int = 15) -> int:
    """Run random sequences of steps and return how many steps those were, whole sequences that repeat included.

    Raises AssertionError with the shortest failing sequence in its notes.
    """
    taken = 0
    configured = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        # The same sequences every time: a promise is kept or it is not.
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )

    class Machine(MemoryMachine):
        def __init__(self) -> None:
            super().__init__(make)

        @invariant()
        def count(self) -> None:
            nonlocal taken
            taken += 1

    run_state_machine_as_test(Machine, settings=configured)
    return taken
