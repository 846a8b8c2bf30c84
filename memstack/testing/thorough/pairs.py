"""What an interrupted change may leave: of each row what was there, or what should be; never half of a pair."""

import itertools
from collections.abc import Callable, Sequence

from memstack.testing.assertions import ensure
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


def settle(run: Run, outcomes: Sequence[Oracle]) -> None:
    """Raise AssertionError unless each row holds what it does in one of these, the oldest perhaps missing.

    The oracle then holds what the memory does, for the run to go on.
    """
    state, lengths = run.memory.state_dict(), run.memory.lengths.tolist()
    written, keys, values = (state[name].tolist() for name in ("written", "keys", "values"))
    ensure(run.memory.written.tolist() == written, f"the state says {written} were written, the memory otherwise")
    settled = Oracle(run.shape)
    settled.kept = run.oracle.kept
    settled.written = written
    for row, head in itertools.product(range(run.shape.rows), range(run.shape.heads)):
        n = lengths[row]
        likely = [each for each in outcomes if each.written[row] == written[row] and len(each.entries[row][head]) >= n]
        said = [each.written[row] for each in outcomes]
        ensure(bool(likely), f"row {row}: {written[row]} were written and {n} are live; expected is one of {said}")
        for each in likely:
            entries = each.entries[row][head][len(each.entries[row][head]) - n :]
            if all(
                _same(entry.key, keys[row][head][place]) and _same(entry.value, values[row][head][place])
                for place, entry in enumerate(entries)
            ):
                settled.entries[row][head] = entries
                break
        else:
            raise AssertionError(f"row {row}, head {head}: what is live was never added so: {keys[row][head][:n]}")
    run.oracle = settled


def _same(held: Sequence[float], found: Sequence[float]) -> bool:
    return list(held) == list(found)
