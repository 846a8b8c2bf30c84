"""Promises about what is found: a floor of recall on clustered keys, kept while the memory lives."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from memstack.contract.shape import MemoryShape
from memstack.testing.assertions import ensure
from memstack.testing.harness import Harness, Trial

SHAPE = MemoryShape(rows=2, heads=2, key_dim=16, value_dim=2, capacity=256)
CHUNK, CLUSTERS, NEIGHBOURS, QUERIES = 96, 12, 8, 12


class RecallContract(Harness):
    """How much of what is there is found."""

    def test_recall_on_clustered_keys(self) -> None:
        """Of the true neighbours among clustered unit keys, at least the backend's recall floor is found."""
        trial = self.trial(SHAPE)
        self._fill(trial, 2)
        self._ensure_floor(trial)
        self._fill(trial, 1)
        self._ensure_floor(trial)

    def test_recall_after_the_ring_has_turned_over(self) -> None:
        """Recall does not fall while new entries replace old ones several times over and the clusters move."""
        trial = self.trial(SHAPE)
        for _ in range(4):
            self._fill(trial, 3)
            self._ensure_floor(trial)

    def test_recall_after_a_reset(self) -> None:
        """Recall does not fall when rows are reset and filled with other documents."""
        trial = self.trial(SHAPE)
        for reset in ((True, False), (False, True), (True, True)):
            self._fill(trial, 2)
            trial.reset(*reset)
            self._fill(trial, 2)
            self._ensure_floor(trial)

    def test_recall_of_repeating_keys(self) -> None:
        """Keys that repeat periodically are found as well as any others."""
        for period in (8, 32):
            trial = self.trial(SHAPE)
            keys = unit_keys(trial.data.random, period).repeat(1, 1, SHAPE.capacity // period, 1)
            trial.give(keys, trial.data.values(SHAPE.capacity))
            self._ensure_floor(trial, keys[:, :, :QUERIES])

    def test_recall_of_few_keys(self) -> None:
        """A memory that is not yet full is searched as well as a full one."""
        for n in (1, 5, 20):
            trial = self.trial(SHAPE)
            trial.give(clustered_keys(trial.data.random, n), trial.data.values(n))
            self._ensure_floor(trial)

    def _fill(self, trial: Trial, chunks: int) -> None:
        for _ in range(chunks):
            trial.give(clustered_keys(trial.data.random, CHUNK), trial.data.values(CHUNK))

    def _ensure_floor(self, trial: Trial, queries: Tensor | None = None) -> None:
        """Every answer is true, and enough of the best are in it; an entry as good as the k-th best counts as one."""
        if queries is None:
            queries = clustered_keys(trial.data.random, QUERIES)
        found = trial.search(queries, NEIGHBOURS)
        keys = trial.memory.state_dict()["keys"].float().cpu()
        scores = torch.einsum("rhqd,rhnd->rhqn", queries, keys)
        lengths = trial.memory.lengths.cpu()
        dead = torch.arange(keys.shape[2], dtype=torch.int64, device="cpu") >= lengths[:, None]
        best = scores.masked_fill(dead[:, None, None], -torch.inf).topk(min(NEIGHBOURS, keys.shape[2])).values
        ensure(bool((found.scores[..., 0] <= best[..., 0] + 1e-5).all()), "a score is better than the best there is")
        threshold = best.masked_fill(best == -torch.inf, torch.inf).min(-1, keepdim=True).values
        hits = (found.scores >= threshold - 1e-5)[..., : best.shape[-1]]
        self.ensure_recall(f"{lengths.tolist()} clustered keys", hits[best > -torch.inf])


def clustered_keys(random: torch.Generator, n: int) -> Tensor:
    """Unit keys round a few centres per memory, rounded to what half precision holds exactly."""
    centres = unit_keys(random, CLUSTERS)
    members = torch.randint(
        CLUSTERS, (SHAPE.rows, SHAPE.heads, n, 1), generator=random, dtype=torch.int64, device="cpu"
    )
    near = centres.gather(2, members.expand(-1, -1, -1, SHAPE.key_dim))
    noise = torch.randn(near.shape, generator=random, dtype=torch.float32, device="cpu")
    return rounded(normalize(near + 0.1 * noise, dim=-1))


def unit_keys(random: torch.Generator, n: int) -> Tensor:
    """Unit keys in random directions."""
    return rounded(
        normalize(
            torch.randn(SHAPE.rows, SHAPE.heads, n, SHAPE.key_dim, generator=random, dtype=torch.float32, device="cpu"),
            dim=-1,
        )
    )


def rounded(keys: Tensor) -> Tensor:
    """Round to 128ths."""
    return (keys * 128).round() / 128
