"""The thorough check: it finds what is wrong in rare states alone, shortens and repeats it; what is sound passes."""

from collections.abc import Callable

import pytest
import torch
from helpers.list_memory import ListMemory
from helpers.mutants_rare import (
    AnswersWithTheLastQuery,
    FailsInAFork,
    KeepsARowAfterSelect,
    LiveBeforeWritten,
    LosesTheLastOfALeftPaddedRow,
    OffAfterManySearches,
    SharesWithItsCopy,
    WrongAfterTwoRounds,
)
from helpers.variants import variants
from memstack_exact.search import ExactMemory

from memstack import Memory, MemoryShape
from memstack.testing import check_memory, check_thoroughly, promises
from memstack.testing.thorough.check import PARTS
from memstack.testing.thorough.report import Tried

Make = Callable[[MemoryShape], Memory]
RARE: dict[str, tuple[Make, int, str]] = {
    "wrong after two rounds of the ring": (WrongAfterTwoRounds, 5, "value"),
    "a reset after a select": (KeepsARowAfterSelect, 1, "should be"),
    "long use": (OffAfterManySearches, 4, "value"),
    "a copy whose ring has turned over": (SharesWithItsCopy, 1, "value"),
    "a row padded at the left": (LosesTheLastOfALeftPaddedRow, 2, "should be"),
}
SHORT = [name for name in promises() if "sequence" not in name and "process" not in name]


def tried(make: Make, part: str, operations: int, seed: int = 1) -> Tried:
    """What one part of a check finds."""
    (found,) = check_thoroughly(make, operations=operations, seed=seed, only=[part], findings=1).tried
    return found


@pytest.mark.parametrize("state", variants(RARE, [state for state in RARE if state != "long use"]))
def test_what_is_wrong_in_rare_states_alone_is_found(state: str) -> None:
    make, seed, expected = RARE[state]
    found = tried(make, "operations", 1000, seed)
    assert found.outcome == "fail"
    assert all(expected in finding.what for finding in found.findings), [each.what for each in found.findings]


@pytest.mark.parametrize("state", ["a reset after a select"])
def test_the_promises_one_by_one_do_not_find_it(state: str) -> None:
    assert check_memory(RARE[state][0], only=SHORT).passed


def test_a_finding_is_python_that_shows_it_again() -> None:
    finding = tried(WrongAfterTwoRounds, "operations", 1000, seed=5).findings[0]
    assert finding.again.count("Add(") <= 5, "the history should be short"
    scope: dict[str, object] = {}
    with pytest.raises(AssertionError) as shown:
        exec(finding.again, scope)
    assert " ".join(str(shown.value).split())[:60] == finding.what[:60]


def test_a_seed_repeats_what_it_found() -> None:
    first, second = (tried(SharesWithItsCopy, "operations", 300, seed=5) for _ in range(2))
    assert first.findings == second.findings
    assert (first.done, first.counts) == (second.done, second.counts)
    other = tried(SharesWithItsCopy, "operations", 300, seed=6)
    assert other.findings != first.findings


@pytest.mark.parametrize("part", ["lines", "signals"])
def test_values_written_after_their_keys_are_live_are_found_by_an_interrupt(part: str) -> None:
    found = tried(LiveBeforeWritten, part, 20_000)
    assert found.outcome == "fail"
    assert any("neither all nor nothing" in finding.what for finding in found.findings)


def test_a_question_kept_on_the_memory_is_found_by_threads() -> None:
    found = tried(AnswersWithTheLastQuery, "threads", 50_000)
    assert found.outcome == "fail"
    assert found.findings[0].what.startswith("in a thread that searches")


def test_what_a_fork_breaks_is_found() -> None:
    found = tried(FailsInAFork, "forks", 1000)
    expected = "in a forked process: RuntimeError: the threads of the pool are not here"
    assert {finding.what for finding in found.findings} == {expected}


def test_a_sound_memory_passes_every_part() -> None:
    report = check_thoroughly(ExactMemory, operations=600, seed=3)
    assert report.passed, str(report)
    assert [each.name for each in report.tried] == [part.name for part in PARTS]
    operations, *others = report.tried
    assert operations.done >= 600
    assert {"add", "search", "copy", "move", "refused", "stale", "gradients"} <= operations.counts.keys()
    assert [each.name for each in others if each.outcome == "not run"] == ["kills"]
    assert all(each.done > 0 for each in others if each.outcome != "not run")
    assert torch.get_default_dtype() == torch.float32


def test_a_memory_with_its_own_storage_may_be_interrupted_and_forked() -> None:
    report = check_thoroughly(ListMemory, operations=300, seed=3, only=["lines", "signals", "forks"])
    assert report.passed, str(report)


def test_an_error_of_a_memory_that_cannot_be_made_is_a_finding() -> None:
    def broken(shape: MemoryShape) -> Memory:
        raise RuntimeError(f"no room for {shape.capacity}")

    found = tried(broken, "operations", 10)
    assert found.outcome == "fail"
    assert found.findings[0].what.startswith("RuntimeError: no room for")


def test_bad_arguments_are_said() -> None:
    with pytest.raises(ValueError, match="a callable has no options, got m"):
        check_thoroughly(ExactMemory, {"m": 3})
    with pytest.raises(ValueError, match="nothing is tried under the name treads; known are operations"):
        check_thoroughly(ExactMemory, only=["treads"])
