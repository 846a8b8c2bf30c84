"""Promises about rows on their own: ragged and padded batches, rows that are reordered and copied."""

from functools import partial

import torch

from memstack.contract.errors import NonFiniteError, ShapeError
from memstack.contract.state import select_rows
from memstack.contract.validation import Padded
from memstack.testing.assertions import ensure, ensure_raises, ensure_same_answer, ensure_same_state
from memstack.testing.harness import CHUNK, SHAPE, Harness, Trial

CAPACITY = SHAPE.capacity
SIDES: tuple[Padded, ...] = ("right", "left")
WRONG_LENGTHS = {
    "lengths of too few rows": torch.tensor([1, 2], dtype=torch.int64, device="cpu"),
    "lengths of floats": torch.tensor([1.0, 2.0, 3.0], dtype=torch.float32, device="cpu"),
    "a length below 0": torch.tensor([1, -1, 3], dtype=torch.int64, device="cpu"),
    "a length beyond n": torch.tensor([1, 2, CHUNK + 1], dtype=torch.int64, device="cpu"),
    "a mask in place of lengths": torch.ones(3, dtype=torch.bool, device="cpu"),
}
WRONG_SELECTIONS = {
    "too few rows": torch.tensor([0, 1], dtype=torch.int64, device="cpu"),
    "a row that is none": torch.tensor([0, 1, 3], dtype=torch.int64, device="cpu"),
    "a row below 0": torch.tensor([0, 1, -1], dtype=torch.int64, device="cpu"),
    "a mask in place of row numbers": torch.ones(3, dtype=torch.bool, device="cpu"),
    "row numbers of floats": torch.tensor([0.0, 1.0, 2.0], dtype=torch.float32, device="cpu"),
}


class RowContract(Harness):
    """What each row gets, and where it goes."""

    def test_a_ragged_batch(self) -> None:
        """Of a ragged batch each row gets its own number of entries, padded at the right or at the left."""
        for padded in SIDES:
            trial = self.trial()
            for lengths in ((3, 0, CHUNK), (CHUNK, 5, 5), (0, 0, 0), (1, CHUNK, 0)):
                trial.give(trial.data.keys(CHUNK), trial.data.values(CHUNK), lengths, padded)
                trial.check()
            ensure_same_state("the state of ragged rows", trial.memory.state_dict(), trial.oracle.state_dict())

    def test_a_ragged_batch_beyond_the_capacity(self) -> None:
        """Of more entries than fit each row keeps its own newest."""
        for padded in SIDES:
            trial = self.trial()
            trial.add(7)
            n = CAPACITY + 9
            trial.give(trial.data.keys(n), trial.data.values(n), (n, 3, CAPACITY + 1), padded)
            trial.check(k=2 * CAPACITY, q=1)
            trial.add(CHUNK)
            ensure_same_state("the state after overflow", trial.memory.state_dict(), trial.oracle.state_dict())

    def test_padding_may_hold_anything(self) -> None:
        """Padding may be NaN or infinite; it is never stored, found or refused."""
        for padded in SIDES:
            columns = slice(4, None) if padded == "right" else slice(None, -4)
            trial = self.trial()
            keys, values = trial.data.keys(CHUNK), trial.data.values(CHUNK)
            keys[:, :, columns], values[:, :, columns] = torch.nan, torch.inf
            trial.give(keys, values, (4, 2, 0), padded)
            trial.check(k=CAPACITY)
            keys[0, 0, 0 if padded == "right" else -1, 0] = torch.inf
            lengths = torch.tensor([4, 2, 0], dtype=torch.int64, device="cpu")
            ensure_raises(
                NonFiniteError,
                "an infinite key among those that count",
                partial(trial.memory.add, keys, values, lengths, padded=padded),
            )
            ensure_same_state("the state after a refused add", trial.memory.state_dict(), trial.oracle.state_dict())

    def test_wrong_lengths(self) -> None:
        """Lengths that do not fit the batch raise ShapeError before anything is written."""
        trial = self.trial()
        trial.add(5)
        keys, values = trial.data.keys(CHUNK), trial.data.values(CHUNK)
        for what, lengths in WRONG_LENGTHS.items():
            ensure_raises(ShapeError, what, lambda: trial.memory.add(keys, values, lengths))  # noqa: B023
        ensure_same_state("the state after wrong lengths", trial.memory.state_dict(), trial.oracle.state_dict())
        trial.check()

    def test_rows_can_be_reordered_and_copied(self) -> None:
        """After select(rows) each row answers as the row it was told to follow, and goes on from there on its own."""
        trial = self._uneven()
        for rows in ((1, 0, 2), (0, 0, 1), (2, 1, 2), (0, 1, 2), (1, 1, 1)):
            trial.select(*rows)
            trial.check(k=CAPACITY)
            trial.give(trial.data.keys(5), trial.data.values(5), (5, 1, 3))
            trial.check()
        ensure_same_state("the state of selected rows", trial.memory.state_dict(), trial.oracle.state_dict())

    def test_a_copied_row_is_independent(self) -> None:
        """What is added to a copy of a row, or forgotten in it, changes nothing in the row it was copied from."""
        trial = self._uneven()
        trial.select(0, 0, 0)
        trial.give(trial.data.keys(CHUNK), trial.data.values(CHUNK), (0, CHUNK, 0))
        trial.reset(False, False, True)
        trial.check(k=CAPACITY)

    def test_a_row_that_stays_answers_alike(self) -> None:
        """A row that select leaves where it is answers to the bit as before."""
        trial = self._uneven()
        queries = trial.data.queries(4)
        before = trial.search(queries, 6)
        trial.select(0, 2, 2)
        after = trial.search(queries, 6)
        for rows in (slice(0, 1), slice(2, 3)):
            ensure_same_answer("a row that stayed", after, before, rows)

    def test_wrong_selections(self) -> None:
        """Row numbers that do not fit the memory raise ShapeError and change nothing."""
        trial = self._uneven()
        for what, rows in WRONG_SELECTIONS.items():
            ensure_raises(ShapeError, what, lambda: trial.memory.select(rows))  # noqa: B023
        ensure_same_state("the state after wrong rows", trial.memory.state_dict(), trial.oracle.state_dict())
        trial.check()

    def test_a_state_of_selected_rows_loads(self) -> None:
        """Rows of a saved state load: one document, read once, is asked by every row."""
        trial = self._uneven()
        state = select_rows(trial.memory.state_dict(), torch.tensor([0, 0, 2], dtype=torch.int64, device="cpu"))
        trial.memory.load_state_dict(state)
        trial.oracle.select((0, 0, 2))
        ensure(int(trial.memory.lengths[1]) == CAPACITY, "row 1 should hold what row 0 held")
        trial.check(k=CAPACITY)

    def _uneven(self) -> Trial:
        """One row over its capacity, one partly filled, one of a few entries."""
        trial = self.trial()
        trial.add(CAPACITY + 7)
        trial.reset(False, True, True)
        trial.give(trial.data.keys(CHUNK), trial.data.values(CHUNK), (4, CHUNK, 2))
        return trial
