"""What an interrupted change may leave: all of it or nothing of it, and so never half of a pair."""

from collections.abc import Callable

from memstack.testing.assertions import ensure_same_state
from memstack.testing.oracle import Oracle
from memstack.testing.thorough.run import Run


def after(run: Run, change: Callable[[Oracle], object]) -> Oracle:
    """Return what should be held once this has changed; the run's own oracle is left as it is."""
    changed = copied(run.oracle)
    change(changed)
    return changed


def copied(oracle: Oracle) -> Oracle:
    """Return an oracle of its own that holds the same entries."""
    made = Oracle(oracle.shape)
    made.kept, made.written = oracle.kept, list(oracle.written)
    made.entries = [[list(head) for head in heads] for heads in oracle.entries]
    return made


def settle(run: Run, then: Oracle) -> None:
    """Raise AssertionError unless a memory holds what it did or what it was to hold then; so then does the oracle."""
    state = run.memory.state_dict()
    told: list[str] = []
    for done, outcome in (("nothing", run.oracle), ("all", then)):
        try:
            ensure_same_state(f"had it done {done}", state, outcome.state_dict())
        except AssertionError as error:
            told.append(str(error))
        else:
            run.oracle = outcome
            return
    raise AssertionError(f"an interrupted change did neither all nor nothing: {'; '.join(told)}")
