"""Promises about what a memory says of itself, wrapped or not, and what it is known by."""

import copy

import torch

from memstack.contract.ops import search
from memstack.testing.assertions import ensure, ensure_close, ensure_identical, ensure_same_answer
from memstack.testing.harness import CHUNK, SHAPE, Harness


class FactContract(Harness):
    """What a memory says of itself."""

    def test_it_says_whether_it_is_exact(self) -> None:
        """memory.exact says what the backend's spec says."""
        memory = self.make()
        ensure(memory.exact is self.is_exact, f"memory.exact is {memory.exact}, promised is {self.is_exact}")

    def test_it_says_where_it_works(self) -> None:
        """memory.device is where its entries are handed out."""
        trial = self.trial()
        trial.add(CHUNK)
        at, said = trial.memory.state_dict()["keys"].device, trial.memory.device
        ensure(said == at, f"memory.device is {said}, its entries are on {at}")

    def test_it_counts_what_was_written(self) -> None:
        """memory.written counts every insertion since the row's last reset; entries that have left count too."""
        trial = self.trial()
        for n in (5, SHAPE.capacity, CHUNK):
            trial.add(n)
            trial.check_counts()
        trial.reset(False, True, False)
        trial.add(3)
        trial.check_counts()
        written = trial.memory.written
        ensure(not written.is_floating_point(), f"written should be int, got {written.dtype}")
        written += 1
        trial.check_counts()

    def test_it_can_be_searched_exactly(self) -> None:
        """search_exactly finds the true neighbours, whatever the index, and scores them as search does."""
        trial = self.trial()
        for n in (3, SHAPE.capacity, CHUNK):
            trial.add(n)
            trial.check_exactly(trial.data.queries(4, group=2), k=6)
        trial.reset(True, False, False)
        trial.check_exactly(trial.data.queries(2), k=SHAPE.capacity + 3)

    def test_the_same_question_through_both_doors(self) -> None:
        """memory.search and memstack.search answer alike, and what they answer is the caller's own."""
        trial = self.trial()
        trial.add(CHUNK)
        first, second = trial.data.queries(3), trial.data.queries(3)
        answers = trial.answers(first, k=4)
        kept = [found.scores.clone() for found in answers]
        trial.answers(second, k=4)
        for found, scores in zip(answers, kept, strict=True):
            ensure_identical("scores after another question", found.scores, scores)

    def test_a_copy_is_known_by_itself(self) -> None:
        """A deep copy answers for itself through both doors, and goes its own way."""
        trial = self.trial()
        trial.add(CHUNK)
        other = copy.deepcopy(trial.memory)
        trial.reset(True, True, True)
        queries = trial.data.queries(2)
        found = search(other, queries, 3)
        ensure_same_answer("memstack.search of a copy", found, other.search(queries, 3))
        ensure(bool(found.mask.any()), "a copy should hold what was copied")
        trial.check()

    def test_a_question_in_another_precision(self) -> None:
        """Both doors take queries of any floating dtype, and dot gives the scores again for the very tensor asked."""
        trial = self.trial()
        trial.add(CHUNK)
        for dtype in (torch.bfloat16, torch.float64):
            queries = trial.data.queries(2).to(dtype)
            for found in trial.answers(queries, k=3):
                ensure_close(f"dot of {dtype} queries", found.dot(queries)[found.mask], found.scores[found.mask])
