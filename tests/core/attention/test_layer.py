"""MemoryAttention: what it is made with."""

from typing import Any

import pytest
import torch

from memstack import MemoryAttention, OptionsError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"combine": "sum"}, "combine should be 'joint' or 'gate', got 'sum'"),
        ({"empty_memory": "zero"}, "empty_memory should be 'local' or 'zeros', got 'zero'"),
        ({"largest_share": 0}, "largest_share should be above 0 and at most 1, got 0"),
    ],
)
def test_a_word_that_is_none_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        MemoryAttention(2, **given)


def test_whole_numbers_are_learned_from_as_well() -> None:
    module = MemoryAttention(2, bias=1, age=0)
    assert module.age is not None
    assert module.bias.dtype == module.age.dtype == torch.get_default_dtype()
    assert module.bias.tolist() == [1.0, 1.0]
