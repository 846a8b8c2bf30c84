"""Sizes rounded up to a power of two."""

import pytest

from memstack.store import next_power_of_2


@pytest.mark.parametrize(
    ("n", "power"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (1 << 40, 1 << 40), (2**40 + 1, 2**41)]
)
def test_the_next_power_of_2_is_the_smallest_that_is_no_less(n: int, power: int) -> None:
    assert next_power_of_2(n) == power
