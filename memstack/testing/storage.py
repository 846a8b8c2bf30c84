"""Promises about what is stored: pairing, first in first out, positions, lengths, independence, reset."""

import torch

from memstack.contract.errors import NonFiniteError
from memstack.contract.result import SearchResult
from memstack.testing.assertions import ensure, ensure_identical, ensure_raises, ensure_same_answer, ensure_same_state
from memstack.testing.harness import CHUNK, SHAPE, Harness, Trial

HEADS, CAPACITY = SHAPE.heads, SHAPE.capacity
LARGE = 2.0**15
"""Far above what other values are, and exact in every store."""


class StorageContract(Harness):
    """What is stored, where it came from, and what leaves."""

    def test_pairing_when_the_chunk_does_not_divide_the_capacity(self) -> None:
        """The value in a column belongs to its key, before, at and after overflow."""
        trial = self.trial()
        for _ in range(3 * CAPACITY // CHUNK):
            trial.add(CHUNK)
            trial.check()

    def test_pairing_one_entry_at_a_time(self) -> None:
        """Entries may come one by one, over the edge of the capacity."""
        trial = self.trial()
        trial.add(CAPACITY - 3)
        for _ in range(6):
            trial.add(1)
            trial.check(q=1)

    def test_pairing_when_the_chunk_is_the_capacity(self) -> None:
        """A chunk as large as the capacity replaces everything."""
        trial = self.trial()
        for _ in range(2):
            trial.add(CAPACITY)
            trial.check()

    def test_pairing_when_the_chunk_exceeds_the_capacity(self) -> None:
        """Of a chunk larger than the capacity, the newest entries stay."""
        trial = self.trial()
        for n in (CAPACITY + 7, 5, 2 * CAPACITY + 9):
            trial.add(n)
            trial.check()

    def test_oldest_leave_first(self) -> None:
        """Beyond the capacity only the oldest entries leave; there is no wipe."""
        trial = self.trial()
        trial.add(CAPACITY)
        trial.add(5)
        ensure_same_state("the state after overflow", trial.memory.state_dict(), trial.oracle.state_dict())
        found = trial.check(k=2 * CAPACITY)
        oldest = found.positions[found.mask].min().item()
        ensure(oldest >= 5, f"entries 0 to 4 should have left, got position {oldest}")

    def test_search_right_after_the_overflowing_add(self) -> None:
        """What the overflowing add brought can be found at once, and what it replaced cannot."""
        trial = self.trial()
        trial.add(CAPACITY)
        newest = 8 * trial.data.keys(5)
        trial.give(newest, trial.data.values(5))
        found = trial.ask(newest, k=5)
        self.ensure_recall("the newest keys", (found.positions >= CAPACITY).any(-1))

    def test_positions_count_insertions(self) -> None:
        """Positions count insertions in the row since its last reset, also beyond the capacity."""
        trial = self.trial()
        trial.add(CAPACITY + 10)
        found = trial.check(k=2 * CAPACITY, q=1)
        newest = CAPACITY + 9
        got = found.positions.max().item()
        ensure(got <= newest, f"the newest entry has position {newest}, got {got}")
        trial.reset(False, True, False)
        trial.add(3)
        found = trial.check(k=2 * CAPACITY, q=1)
        ensure(bool((found.positions[1] < 3).all()), f"row 1 had 3 insertions since its reset: {found.positions[1]}")

    def test_lengths(self) -> None:
        """Lengths are the live entries per row: int, at most the capacity."""
        trial = self.trial()
        for n in (0, 1, CAPACITY - 2, 5, 2 * CAPACITY):
            trial.add(n)
            trial.check_counts()
        ensure(not trial.memory.lengths.is_floating_point(), f"lengths should be int, got {trial.memory.lengths.dtype}")
        trial.reset(False, True, False)
        trial.check_counts()

    def test_adding_nothing_changes_nothing(self) -> None:
        """An add of n=0 entries is allowed, to an empty memory as well, and changes nothing."""
        trial = self.trial()
        trial.add(0)
        trial.check()
        trial.add(5)
        trial.add(0)
        trial.check()

    def test_rows_and_heads_are_independent(self) -> None:
        """Each row and head is its own store: none answers with an entry of another."""
        trial = self.trial()
        trial.add(CHUNK)
        trial.reset(True, False, False)
        trial.add(CHUNK)
        # The same query everywhere, and one memory whose keys beat all others for it.
        query = trial.data.numbers(1, 1, 1, SHAPE.key_dim)
        tempting = trial.data.keys(2)
        tempting[1, 1] = 4 * query[0, 0]
        trial.give(tempting, trial.data.values(2))
        trial.ask(query.expand(SHAPE.rows, HEADS, 1, SHAPE.key_dim), k=CAPACITY)

    def test_a_refused_add_writes_nothing(self) -> None:
        """An add refused for one bad key writes nothing, in no row and no head."""
        trial = self.trial()
        trial.add(CHUNK)
        keys = trial.data.keys(CHUNK)
        keys[-1, -1, -1, -1] = torch.nan
        values = trial.data.values(CHUNK)
        ensure_raises(NonFiniteError, "a NaN in the last key", lambda: trial.memory.add(keys, values))
        ensure_same_state("the state after a refused add", trial.memory.state_dict(), trial.oracle.state_dict())
        trial.check()
        trial.add(CAPACITY)
        trial.check()

    def test_reset_leaves_other_rows_alone(self) -> None:
        """Resetting some rows leaves the answers and the data of the others bit-identical."""
        trial = self.trial()
        trial.add(CAPACITY + 5)
        queries = trial.data.queries(4)
        before, data = trial.search(queries, 6), trial.memory.state_dict()
        trial.reset(True, False, False)
        after, left = trial.search(queries, 6), trial.memory.state_dict()
        for rows in (slice(1, 2), slice(2, 3)):
            ensure_same_answer("a row that was not reset", after, before, rows)
            for name in ("keys", "values", "written"):
                ensure_identical(f"{name} of a row that was not reset", left[name][rows], data[name][rows])
        trial.check()

    def test_a_reset_row_is_as_new(self) -> None:
        """A reset row is empty, counts from 0 again and fills again, while the others go on."""
        trial = self.trial()
        trial.add(CAPACITY + 5)
        trial.reset(False, True, False)
        found = trial.check()
        ensure(not bool(found.mask[1].any()), "a reset row should find nothing")
        for _ in range(4):
            trial.add(CHUNK)
            trial.check()

    def test_reset_of_all_rows(self) -> None:
        """reset() without rows forgets everything."""
        trial = self.trial()
        trial.add(CHUNK)
        trial.memory.reset()
        trial.oracle.reset([True] * SHAPE.rows)
        trial.check()
        trial.add(CHUNK)
        trial.check()

    def test_reset_of_no_row(self) -> None:
        """A mask that is False everywhere forgets nothing."""
        trial = self.trial()
        trial.add(CHUNK)
        trial.reset(False, False, False)
        trial.check()

    def test_values_stay_in_their_own_row_and_are_forgotten(self) -> None:
        """Large values stay in their own memory, and a reset leaves no trace of them."""
        trial = self.trial()
        values = trial.data.values(CAPACITY)
        values[0] = LARGE
        trial.give(trial.data.keys(CAPACITY), values)
        found = trial.check()
        ensure(_small_mix(found, slice(1, None)), "large values leaked into other rows' mix")
        trial.reset(True, False, False)
        found = trial.check()
        ensure(_small_mix(found, slice(None)), "a reset row still mixes large values")
        trial.add(3)
        ensure(_small_mix(trial.check(), slice(None)), "a reset and refilled row still mixes large values")

    def test_missing_columns_mix_nothing(self) -> None:
        """A missing column reads zeros whatever was once stored: its weight adds nothing to the mix."""
        trial = self.trial()
        trial.give(trial.data.keys(CAPACITY), torch.full_like(trial.data.values(CAPACITY), LARGE))
        trial.reset(True, True, True)
        found = trial.check()
        mixed = found.mix(torch.ones_like(found.scores))
        ensure(not bool(mixed.any()), "an empty memory should mix zeros")

    def test_two_memories_share_nothing(self) -> None:
        """Two memories of one backend share nothing."""
        first, second = self.trial(seed=1), self.trial(seed=2)
        first.add(CHUNK)
        second.check()
        second.add(CAPACITY + 3)
        first.check()
        second.reset(True, True, True)
        first.check()
        second.check()

    def test_what_is_added_is_copied(self) -> None:
        """Changing the tensors after the add changes nothing in the memory."""
        for n in (CHUNK, CAPACITY, CAPACITY + 5):
            trial = self.trial()
            _add_and_overwrite(trial, n)
            trial.check()


def _small_mix(found: SearchResult, rows: slice) -> bool:
    return bool((found.mix(torch.ones_like(found.scores))[rows].abs() < LARGE).all())


def _add_and_overwrite(trial: Trial, n: int) -> None:
    keys, values = trial.data.keys(n), trial.data.values(n)
    trial.give(keys, values)
    keys.fill_(3)
    values.fill_(5)
