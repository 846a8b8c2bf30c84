"""Variants of a test: some are asked in every run, the others by ``make test-all``."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def variants(values: Iterable[Any], often: Collection[Any]) -> list[Any]:
    """Return all of them, for ``parametrize``, those marked long that are not asked often."""
    each = [value if isinstance(value, tuple) else (value,) for value in values]
    kept = [value if isinstance(value, tuple) else (value,) for value in often]
    assert all(value in each for value in kept), f"not all of {often} are among the variants"
    return [pytest.param(*value, marks=() if value in kept else pytest.mark.long) for value in each]
