"""How far a perplexity can be believed: pieces of documents, and the bootstrap over them."""

from math import exp, log

import pytest
import torch
from memstack_models.data.reader import IGNORED, Segment
from memstack_models.evaluation.losses import TokenLosses
from memstack_models.evaluation.spread import Segments, perplexity_interval, ratio_interval


def segments(perplexities: list[float], shift: int = 0) -> Segments:
    """Pieces of a hundred tokens."""
    count = len(perplexities)
    return Segments(
        documents=(0,) * count,
        starts=tuple(100 * i + shift for i in range(count)),
        nats=tuple(100 * log(each) for each in perplexities),
        tokens=(100,) * count,
    )


def test_losses_are_put_together_by_pieces_whatever_was_read_at_once() -> None:
    found: list[Segments] = []
    nats = torch.arange(12, dtype=torch.float32).view(2, 6)
    for at_once in (2, 3, 6):
        losses = TokenLosses()
        for offset in range(0, 6, at_once):
            targets = torch.ones(2, at_once, dtype=torch.int64)
            targets[1, max(0, 5 - offset) :] = IGNORED  # the second document is a token shorter
            here = torch.full((2,), offset)
            losses.observe(
                Segment(targets, targets, here == 0, torch.arange(2), here), nats[:, offset : offset + at_once]
            )
        found.append(losses.segments(4))
    assert found[0] == found[1] == found[2]
    assert found[0].documents == (0, 0, 1, 1)
    assert found[0].starts == (0, 4, 0, 4)
    assert found[0].tokens == (4, 2, 4, 1)
    assert found[0].nats == (6.0, 9.0, 30.0, 10.0)


def test_the_interval_holds_the_perplexity_and_narrows_with_more_text() -> None:
    few, many = (perplexity_interval(segments([8.0, 12.0] * count)) for count in (4, 64))
    assert few is not None
    assert many is not None
    mean = exp((log(8) + log(12)) / 2)
    assert few.holds(mean)
    assert many.holds(mean)
    assert many.high - many.low < 0.5 * (few.high - few.low)
    assert perplexity_interval(segments([8.0])) is None
    assert perplexity_interval(segments([8.0, 8.0, 99.0]), 0, 200) == perplexity_interval(segments([8.0, 8.0]))


def test_what_is_hard_for_both_is_no_noise_of_their_ratio() -> None:
    text = [2.0, 30.0, 7.0, 11.0, 90.0, 4.0]
    paired = ratio_interval(segments([1.1 * each for each in text]), segments(text))
    assert paired is not None
    assert (paired.low, paired.high) == (pytest.approx(1.1), pytest.approx(1.1))
    assert ratio_interval(segments(text), segments(text, shift=1)) is None
