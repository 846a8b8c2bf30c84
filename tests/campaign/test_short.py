"""The short version of every check finds nothing; CAMPAIGN_SIZE=long and CAMPAIGN_SEED make it another."""

import os
from pathlib import Path
from typing import get_args

import pytest

from campaign.checks import CHECKS
from campaign.jobs import Check, Size
from campaign.running import place, run_apart, summary

SIZE: Size = "long" if os.environ.get("CAMPAIGN_SIZE") == "long" else "short"
SEED = int(os.environ.get("CAMPAIGN_SEED", "0"))


@pytest.mark.parametrize(
    "check",
    [
        # A stranger's plugin is tried thoroughly in every run (tests/core/plugins).
        pytest.param(check, marks=pytest.mark.long if check.part == "thorough" else ())
        for check in CHECKS
        if check.count(SIZE)
    ],
    ids=lambda check: check.full_name,
)
def test_nothing_is_found(check: Check, tmp_path: Path) -> None:
    record = run_apart(check, SIZE, SEED, place(tmp_path, check))
    print(summary(record))  # noqa: T201 - the seed, where a test fails
    assert record.tried or record.skipped
    assert [f"{each.what} ({each.case})" for each in record.findings] == []


def test_a_size_is_short_or_long() -> None:
    assert get_args(Size) == ("short", "long")
