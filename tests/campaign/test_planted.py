"""Every part notices a fault that is planted: what cannot fail says nothing."""

from pathlib import Path

import pytest
from helpers.variants import variants

from campaign.running import find, place, run_apart

PLANTED = (
    ("fuzz/recipes", 4, "raising", "traceback: ZeroDivisionError: planted"),
    ("fuzz/recipes", 4, "leaving", "left behind by a refusal: new: left"),
    ("fuzz/command-lines", 30, "dying", "ended by signal 6"),
    ("fuzz/command-lines", 12, "two_lines", "a refusal in 2 lines where one is due"),
    ("kill/training", 4, "other_random_numbers", "changed losses"),
    ("damage/run", 25, "no_digest", "taken for sound"),
    ("growth/training", 300, "leaking", "memory grows"),
    ("growth/memory", 400, "holding_files", "open files grow"),
)
OTHERS = (
    ("fuzz/recipes", 1, "hanging", "hangs: after"),
    ("disks/full", 12, "written_in_place", "refused, and yet there"),
    ("fuzz/corpora", 4, "raising", "traceback: ZeroDivisionError: planted"),
    ("kill/training", 4, "log_not_rewound", "changed losses"),
    ("damage/cache", 25, "cache_unchecked", "another answer is given"),
    ("disks/output", 1, "raising", "traceback: ZeroDivisionError: planted"),
    ("surroundings/commands", 2, "raising", "traceback: ZeroDivisionError: planted"),
)
"""Which another part notices in the same way, or which take long to be noticed."""


@pytest.mark.parametrize(
    ("name", "count", "plant", "what"),
    variants([*PLANTED, *OTHERS], PLANTED),
    ids=lambda value: str(value),
)
def test_a_planted_fault_is_found(name: str, count: int, plant: str, what: str, tmp_path: Path) -> None:
    (check,) = find([name])
    record = run_apart(check, "short", 1, place(tmp_path, check), count=count, plant=plant)
    if record.skipped:
        pytest.skip("; ".join(record.skipped))
    assert record.faults
    assert any(what in finding.what for finding in record.findings), record.findings
