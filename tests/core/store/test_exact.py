"""Nearest neighbours by matrix product: what blocks of scores leave is what all scores would have left."""

import pytest
import torch

from memstack.store.exact import KEYS, nearest_slots, top_k


def random(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("block", [1, 100, 5000, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("lengths", "k"), [([300, 300, 300], 5), ([300, 17, 0], 5), ([1, 0, 2], 2), ([64, 300, 120], 64)]
)
def test_every_row_gets_the_best_of_its_own_length(
    lengths: list[int], k: int, dtype: torch.dtype, block: int | None
) -> None:
    keys, queries = random(3, 2, 300, 8).to(dtype), random(3, 2, 7, 8, seed=1)
    live = torch.tensor(lengths)
    slots = nearest_slots(keys, live, queries, k, block)
    scores = queries @ keys.float().mT
    scores.masked_fill_((torch.arange(300) >= live[:, None])[:, None, None], -torch.inf)
    torch.testing.assert_close(
        scores.gather(-1, slots).sort(-1, descending=True).values, scores.topk(k).values, rtol=1e-5, atol=1e-5
    )
    assert slots.shape == (3, 2, 7, k)
    assert all(len(set(row.tolist())) == k for row in slots.flatten(0, 2))


def test_blocks_of_keys_are_put_together() -> None:
    """More keys than one block holds, the best of them in the last and the first."""
    keys = random(1, 1, 3 * KEYS + 5, 4)
    keys[..., [0, 1, 3 * KEYS + 3, 3 * KEYS + 4], :] *= 100
    queries = random(1, 1, 200, 4, seed=1)
    slots = nearest_slots(keys, torch.tensor([3 * KEYS + 5]), queries, 40)
    assert torch.equal(slots.sort(-1).values, (queries @ keys.mT).topk(40).indices.sort(-1).values)


def test_a_row_much_shorter_than_another_is_not_searched_to_the_end() -> None:
    """Slots beyond a short row's length are not read: what they hold, even NaN, cannot matter."""
    keys = random(2, 1, 2 * KEYS, 4)
    keys[0, :, 50:] = torch.nan
    slots = nearest_slots(keys, torch.tensor([50, 2 * KEYS]), random(2, 1, 200, 4, seed=1), 8)
    assert int(slots[0].max()) < 50


@pytest.mark.parametrize("n", [40, 640, 5000, 5003])
def test_the_best_are_in_the_buckets_of_the_best(n: int) -> None:
    scores = random(3, n)
    assert torch.equal(top_k(scores, 16).sort(-1).values, scores.topk(16).indices.sort(-1).values)
