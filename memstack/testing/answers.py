"""Promises about answers: width, missing columns, true scores, order, ties, grouped queries, no side effects."""

import torch

from memstack.testing.assertions import ensure, ensure_close, ensure_same_answer, ensure_same_state
from memstack.testing.harness import CHUNK, SHAPE, Harness

HEADS, CAPACITY = SHAPE.heads, SHAPE.capacity


class AnswerContract(Harness):
    """What a search answers."""

    def test_an_empty_memory_answers(self) -> None:
        """An empty memory answers with k missing columns: -inf, -1 and zeros."""
        found = self.trial().check(k=4)
        ensure(not bool(found.mask.any()), f"an empty memory should find nothing, got positions {found.positions}")

    def test_one_entry(self) -> None:
        """A memory of one entry fills one column and leaves the others missing."""
        trial = self.trial()
        trial.add(1)
        found = trial.check(k=4)
        ensure(bool(found.mask[..., 0].all()), "the only entry should be found")

    def test_fewer_entries_than_k(self) -> None:
        """With fewer entries than k the missing columns are at the right."""
        trial = self.trial()
        trial.add(3)
        trial.check(k=10)
        trial.reset(False, True, False)
        trial.check(k=10)
        trial.add(2)
        trial.check(k=10)

    def test_k_beyond_the_capacity(self) -> None:
        """k may exceed the capacity; an answer has k columns all the same."""
        trial = self.trial()
        trial.add(CAPACITY + 2)
        trial.check(k=CAPACITY + 10)

    def test_k_of_one(self) -> None:
        """k may be 1."""
        trial = self.trial()
        trial.add(CHUNK)
        trial.check(k=1)

    def test_no_queries(self) -> None:
        """A search with q=0 queries is allowed and its parts are empty."""
        trial = self.trial()
        for _ in range(2):
            queries = trial.data.queries(0)
            found = trial.ask(queries, k=3)
            ensure_close("dot of no queries", found.dot(queries), found.scores)
            size = (SHAPE.rows, HEADS, 0, SHAPE.value_dim)
            ensure_close(
                "mix of no queries", found.mix(found.scores), torch.zeros(size, dtype=torch.float32, device="cpu")
            )
            trial.add(CHUNK)

    def test_scores_are_true_and_best_first(self) -> None:
        """Every score is the inner product of query and stored key, and the largest comes first."""
        trial = self.trial()
        keys = torch.randn(
            SHAPE.rows, HEADS, CAPACITY, SHAPE.key_dim, generator=trial.data.random, dtype=torch.float32, device="cpu"
        )
        queries = torch.randn(
            SHAPE.rows, HEADS, 8, SHAPE.key_dim, generator=trial.data.random, dtype=torch.float32, device="cpu"
        )
        trial.memory.add(keys, trial.data.values(CAPACITY))
        found = trial.search(queries, 8)
        ensure(bool(found.mask.any()), "a full memory should find something")
        true = torch.einsum("rhqkd,rhqd->rhqk", found.keys.float(), queries).masked_fill(~found.mask, -torch.inf)
        ensure_close("scores", found.scores, true)
        ensure_close("scores, best first", found.scores, true.sort(dim=-1, descending=True).values)

    def test_no_entry_comes_twice(self) -> None:
        """No entry fills two columns of one answer."""
        trial = self.trial()
        for n in (5, CAPACITY):
            trial.add(n)
            trial.check(k=2 * CAPACITY, q=1)

    def test_negative_scores(self) -> None:
        """Entries whose inner products are negative are found like any others."""
        trial = self.trial()
        keys = trial.data.keys(CHUNK).abs() + 1
        trial.give(keys, trial.data.values(CHUNK))
        found = trial.ask(-keys[:, :, :3], k=4)
        ensure(bool(found.mask[..., 0].all()), "entries with negative scores should be found")

    def test_keys_of_zeros_are_entries(self) -> None:
        """A key of zeros is an entry like any other; emptiness is a count, not a value."""
        trial = self.trial()
        keys = -(trial.data.keys(4).abs() + 1)
        keys[:, :, 1] = 0
        trial.give(keys, trial.data.values(4))
        found = trial.ask(torch.ones(SHAPE.rows, HEADS, 1, SHAPE.key_dim, dtype=torch.float32, device="cpu"), k=4)
        live = trial.memory.lengths.tolist()
        ensure(live == [4] * SHAPE.rows, f"a key of zeros should count as an entry, lengths are {live}")
        self.ensure_recall("the key of zeros, which is the best", found.positions[..., 0] == 1)

    def test_ties(self) -> None:
        """Among equal keys each column holds a stored entry with its own value, and none comes twice."""
        trial = self.trial()
        keys = trial.data.keys(1).expand(-1, -1, 10, -1)
        trial.give(keys, trial.data.values(10))
        trial.ask(keys[:, :, :2], k=6)
        trial.ask(torch.zeros(SHAPE.rows, HEADS, 2, SHAPE.key_dim, dtype=torch.float32, device="cpu"), k=6)

    def test_grouped_queries(self) -> None:
        """Consecutive query heads share a memory head."""
        trial = self.trial()
        trial.add(CHUNK)
        for group in (2, 3):
            queries = trial.data.queries(2, group)
            found = trial.ask(queries, k=4)
            ensure_close("dot of grouped queries", found.dot(queries)[found.mask], found.scores[found.mask])
            mixed = torch.einsum("rhqk,rhqkd->rhqd", found.mask.float(), found.values.float())
            ensure_close("mix of grouped queries", found.mix(found.mask.float()), mixed)

    def test_search_changes_nothing(self) -> None:
        """A search changes nothing, and the same question gets the same answer."""
        trial = self.trial()
        trial.add(CAPACITY + 3)
        queries, state = trial.data.queries(4), trial.memory.state_dict()
        first = trial.search(queries, 5)
        trial.check(k=CAPACITY, group=2)
        again = trial.search(queries, 5)
        ensure_same_answer("the same question asked again", again, first)
        ensure_same_state("the state after searches", trial.memory.state_dict(), state)
        ensure_close("values read after another search", first.values.float(), again.values.float())

    def test_the_same_history_gets_the_same_answer(self) -> None:
        """Two memories that were given the same entries answer alike."""
        first, second = self.trial(seed=3), self.trial(seed=3)
        for trial in (first, second):
            trial.add(CHUNK)
            trial.add(CAPACITY)
        queries = first.data.queries(4)
        answer = first.memory.search(queries, 5)
        ensure_same_answer("a second memory with the same history", second.memory.search(queries, 5), answer)

    def test_a_query_that_is_nan_finds_nothing(self) -> None:
        """A query with a NaN finds nothing and does not disturb the others."""
        trial = self.trial()
        trial.add(CHUNK)
        queries = trial.data.queries(3)
        clean = trial.search(queries, 4)
        spoilt = queries.clone()
        spoilt[:, :, 1, 0] = torch.nan
        found = trial.search(spoilt, 4)
        ensure(not bool(found.mask[:, :, 1].any()), "a NaN query should find nothing")
        ensure(bool((found.scores[:, :, 1] == -torch.inf).all()), "a NaN query should score -inf everywhere")
        ensure(not bool(found.values[:, :, 1].any()), "a NaN query should read zeros")
        for q in (0, 2):
            same = bool((found.positions[:, :, q] == clean.positions[:, :, q]).all())
            ensure(same, f"query {q} is finite and should find what it finds alone")

    def test_the_query_is_not_changed(self) -> None:
        """Search leaves the caller's queries as they were."""
        trial = self.trial()
        trial.add(CHUNK)
        queries = trial.data.queries(3)
        queries[0, 0, 0] = torch.nan
        before = queries.clone()
        trial.search(queries, 4)
        same = bool(((queries == before) | before.isnan()).all()) and bool((queries.isnan() == before.isnan()).all())
        ensure(same, "search changed the queries it was given")
