"""The kit itself: it passes what is sound, catches what is broken, and says what it found."""

import importlib.util
from importlib.machinery import ModuleSpec
from typing import Any

import helpers.mutants_answers  # pyright: ignore[reportUnusedImport] - it adds to BROKEN, as the next do
import helpers.mutants_copies  # pyright: ignore[reportUnusedImport]
import helpers.mutants_rows  # pyright: ignore[reportUnusedImport]
import helpers.mutants_surroundings  # noqa: F401  # pyright: ignore[reportUnusedImport]
import pytest
import torch
from helpers.mutants import BROKEN
from memstack_exact.search import ExactMemory

import memstack
from memstack.testing import MemoryContract, Oracle, check_memory, processes, promises
from memstack.testing.harness import SHAPE, Data
from memstack.wrappers.base import MemoryWrapper

SHORT = [name for name in promises() if "sequence" not in name and "process" not in name]
"""Those that take no process of its own, and no seconds."""


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_memory_fails_at_the_promise_it_breaks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, expected = BROKEN[name]
    monkeypatch.setattr(processes, "LIMIT_S", 5.0)  # for the one that hangs
    # Broken searches are judged as approximate ones with full recall, so that recall is measured and not presumed.
    report = check_memory(memory, exact=False, only=expected)
    assert {result.name for result in report.failed} == expected, str(report)
    assert all(result.detail for result in report.failed)


def test_one_bug_does_not_hide_the_promises_that_are_kept() -> None:
    memory, expected = BROKEN["FindsTheNewestOnlyLater"]
    report = check_memory(memory, exact=False, only=SHORT)
    assert not report.passed
    assert expected <= {result.name for result in report.failed}
    kept = {result.name for result in report if result.passed}
    assert {"test_ties", "test_gradient_of_dot", "test_wrong_k", "test_the_state_is_the_data"} <= kept


def test_what_an_approximate_search_may_miss_an_exact_one_may_not() -> None:
    memory, _ = BROKEN["SearchesHalf"]
    chosen = ["test_k_of_one", "test_grouped_queries", "test_any_sequence_of_steps", "test_recall_on_clustered_keys"]
    assert check_memory(memory, exact=False, recall_floor=0.3, only=chosen).passed
    failed = check_memory(memory, exact=True, recall_floor=0.3, only=chosen).failed
    assert {result.name for result in failed} == set(chosen)
    assert "the best are" in str(failed[-1].detail) or "could be found" in str(failed[-1].detail)


@pytest.mark.long
def test_a_sound_memory_passes_before_it_is_registered() -> None:
    report = check_memory(ExactMemory, exact=True)
    assert report.passed, str(report)
    assert {result.name for result in report if result.outcome == "not run"} == {"test_narrow_stores"}


def test_a_registered_backend_passes_by_name() -> None:
    report = check_memory("exact")
    assert [result.outcome for result in report] == ["pass"] * len(promises())
    assert [result.name for result in report] == promises()
    assert all(result.promise.endswith(".") and result.promise != result.name for result in report)
    assert all(result.seconds > 0 for result in report)


def test_options_replace_the_test_options() -> None:
    report = check_memory("exact", {"block": 7, "dtype": "float16"}, only=["test_ties"])
    assert report.passed
    with pytest.raises(memstack.OptionsError, match="blok"):
        check_memory("exact", {"blok": 7})


def test_an_unknown_backend_is_an_error_and_not_a_report() -> None:
    with pytest.raises(memstack.UnknownBackendError, match="exact"):
        check_memory("exakt")


def test_an_unknown_promise_is_an_error() -> None:
    with pytest.raises(ValueError, match="test_tyes"):
        check_memory("exact", only=["test_tyes"])


def test_the_report_reads_line_by_line() -> None:
    memory, _ = BROKEN["NegatedScores"]
    report = check_memory(memory, exact=True, only=["test_k_of_one", "test_wrong_k"])
    failed, passed = sorted(str(report).splitlines())
    assert failed.startswith("fail")
    assert "k may be 1." in failed
    assert "the inner product is" in failed
    assert passed.startswith("pass")
    assert "k below 1 raises ShapeError." in passed


def test_a_memory_that_raises_is_reported_with_its_error() -> None:
    memory, _ = BROKEN["RaisesWhenEmpty"]
    (result,) = check_memory(memory, only=["test_an_empty_memory_answers"])
    assert result.outcome == "fail"
    assert result.detail == "RuntimeError: the index is empty"


def test_without_hypothesis_one_promise_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def find_spec(name: str, *package: Any) -> ModuleSpec | None:
        return None if name == "hypothesis" else found(name, *package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    report = check_memory("exact", only=["test_any_sequence_of_steps"])
    (result,) = report
    assert (result.outcome, result.detail) == ("not run", "pip install 'memstack[testing]'")
    assert report.passed


def test_every_promise_says_what_it_is() -> None:
    for name in promises():
        lines = (getattr(MemoryContract, name).__doc__ or "").splitlines()
        assert len(lines) == 1, name
        assert lines[0].endswith("."), name


def test_the_oracle_slices_counts_and_sorts() -> None:
    oracle = Oracle(memstack.MemoryShape(rows=1, heads=1, key_dim=1, value_dim=1, capacity=3))
    numbers = torch.tensor([5.0, 1.0, 4.0, 2.0]).view(1, 1, 4, 1)
    oracle.add(numbers, 10 * numbers)
    assert oracle.lengths == [3]
    assert oracle.search([1.0], 0, 0, 2) == [(4.0, 2), (2.0, 3)]
    assert oracle.find(0, 0, 0) is None
    assert oracle.find(0, 0, 3) == (3, [2.0], [20.0])
    assert oracle.state_dict()["keys"].flatten().tolist() == [1.0, 4.0, 2.0]
    oracle.reset([True])
    assert (oracle.lengths, oracle.written) == ([0], [0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_kits_numbers_are_exact_in_half_precision(dtype: torch.dtype) -> None:
    data = Data(SHAPE)
    for numbers in (data.keys(200), data.values(200), data.queries(200)):
        assert torch.equal(numbers.to(dtype).float(), numbers)
        assert numbers.unique().numel() > 100


class Named(ExactMemory):
    """A backend whose attributes bear the names that a base class is likely to use for its own."""

    def __init__(self, shape: memstack.MemoryShape) -> None:
        super().__init__(shape)
        for name in ("number", "handle", "_handle", "_number", "_version", "_written", "_store", "_ring", "_writer"):
            setattr(self, name, 3)


def test_a_backends_attributes_may_have_any_name() -> None:
    report = check_memory(Named, only=SHORT)
    assert report.passed, str(report)


class Forgetful(MemoryWrapper):
    """A wrapper that passes on all that is asked, and forgets to say what the memory inside is."""

    def __init__(self, memory: memstack.Memory) -> None:
        super().__init__(memory)
        del self.exact


def test_a_wrapper_that_forgets_a_fact_is_caught() -> None:
    def wrapped(shape: memstack.MemoryShape) -> memstack.Memory:
        return Forgetful(ExactMemory(shape))

    fact = "test_it_says_whether_it_is_exact"
    assert check_memory(lambda shape: MemoryWrapper(ExactMemory(shape)), exact=True, only=[fact]).passed
    (failed,) = check_memory(wrapped, exact=True, only=[fact]).failed
    assert failed.detail == "memory.exact is False, promised is True"
