"""RetrievalLog: the weights that it keeps are those of one softmax, computed here by plain math."""

from functools import partial

import torch

from memstack import MemoryShape, attend, create_memory, local_attention
from memstack.wrappers.retrieval_log import RetrievalLog

ROWS, HEADS, Q, DIM, K = 2, 3, 5, 8, 4
SHAPE = MemoryShape(rows=ROWS, heads=HEADS, key_dim=DIM, value_dim=DIM, capacity=16)


def randn(*size: int, seed: int) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def test_weights_and_share_are_those_of_one_softmax_over_all_scores() -> None:
    """Scale, bias, age and the choice among candidates are all in them; and the answer is that without a log."""
    plain = create_memory("exact", SHAPE)
    plain.add(randn(ROWS, HEADS, 12, DIM, seed=0), randn(ROWS, HEADS, 12, DIM, seed=1))
    log = RetrievalLog(plain)
    queries, keys, values = (randn(ROWS, HEADS, Q, DIM, seed=seed) for seed in (2, 3, 4))
    local, lse = local_attention(queries, keys, values, scale=0.7)
    bias, age = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([0.3, 0.0, 1.0])
    attending = partial(attend, neighbours=K, scale=0.7, bias=bias, age=age, candidates=9)
    output, share = attending(log, queries, local, lse)
    (kept,) = log.take()
    assert log.take() == []
    torch.testing.assert_close(output, attending(plain, queries, local, lse)[0])

    stored = plain.state_dict()["keys"]
    ages = 12 - torch.arange(12)
    scores = queries @ stored.mT * 0.7 + bias[:, None, None] - age[:, None, None] * ages.log()
    of_found = scores.gather(-1, kept.positions)
    within = (queries @ keys.mT * 0.7).masked_fill(~torch.ones(Q, Q, dtype=torch.bool).tril(), -torch.inf)
    joint = torch.cat([of_found, within], -1).softmax(-1)[..., :K]
    torch.testing.assert_close(kept.weights * share[..., None], joint)
    torch.testing.assert_close(joint.sum(-1), share)


def test_an_answer_that_is_not_mixed_leaves_nothing() -> None:
    log = RetrievalLog(create_memory("exact", SHAPE))
    log.search(randn(ROWS, HEADS, Q, DIM, seed=0), K)
    assert log.take() == []
    log.search_exactly(randn(ROWS, HEADS, Q, DIM, seed=0), K).mix(torch.zeros(ROWS, HEADS, Q, K))
    assert (log.take()[0].positions == -1).all()
