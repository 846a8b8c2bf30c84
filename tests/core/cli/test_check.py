"""``memstack check``: promises, measurements, and the numbers as JSON."""

import json
from pathlib import Path

import pytest
from helpers.command_line import Run, listed

from memstack import Memory
from memstack.cli import check_report
from memstack.measure import KEY_SETS, Measurement
from memstack.plugins.registry import registry
from memstack.testing import runner

SMALL = ["--entries", "64", "--dim", "8"]


@pytest.fixture
def two_promises(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kit itself is tested elsewhere; here only the report of two of its promises."""
    chosen = runner.promises()[:2]
    monkeypatch.setattr(runner, "promises", lambda *_: chosen)
    return chosen


def test_check_reports_each_promise(memstack: Run, two_promises: list[str]) -> None:
    code, out, err = memstack("check", "exact", "--quick")
    assert (code, err) == (0, "")
    assert out.count(" pass ") == len(two_promises) == 2
    assert "exact: 2 of 2 promises kept, 0 broken" in out
    assert "recall" not in out


def test_check_measures_every_key_set(memstack: Run, two_promises: list[str]) -> None:
    code, out, _ = memstack("check", "exact", *SMALL)
    assert code == 0
    assert all(listed(out, name).split()[1:3] == ["1.000", "1.000"] for name in KEY_SETS)
    assert "2 rows x 2 heads of 64 entries, 8 dimensions" in out


def test_check_shows_exact_search_and_a_graph_on_the_same_keys(memstack: Run, two_promises: list[str]) -> None:
    """But never the backend beside itself, and nothing at all where it is to stand alone."""
    code, out, _ = memstack("check", "bucketed", *SMALL, "--json", "numbers.json")
    assert code == 0
    beside = json.loads(Path("numbers.json").read_text())["measurements"]["beside"]
    assert {name: [each["key_set"] for each in found] for name, found in beside.items()} == {
        name: list(KEY_SETS) for name in ("exact", "hnsw")
    }
    for name in beside:
        assert sum(line.startswith(f"  {name} ") for line in out.splitlines()) == len(KEY_SETS)
    assert "below it on the same keys: exact and hnsw, with default options" in out
    assert "  exact" not in memstack("check", "exact", *SMALL)[1]
    assert "  exact" not in memstack("check", "bucketed", *SMALL, "--alone")[1]


def test_check_writes_the_raw_numbers(memstack: Run, two_promises: list[str]) -> None:
    assert memstack("check", "exact", *SMALL, "--json", "new/numbers.json")[0] == 0
    numbers = json.loads(Path("new/numbers.json").read_text())
    assert (numbers["backend"], numbers["libraries"]) == ("exact", [])
    assert [result["name"] for result in numbers["promises"]["results"]] == two_promises
    measured = numbers["measurements"]
    assert measured["shape"] == {"rows": 2, "heads": 2, "key_dim": 8, "value_dim": 8, "capacity": 64}
    assert [result["key_set"] for result in measured["results"]] == list(KEY_SETS)
    for result in measured["results"]:
        assert result["recall"] == 1.0
        timings = [*result["search"].values(), result["fill"], result["add"], result["reset"]]
        assert all(second > 0 for timing in timings for second in timing["seconds"])


def test_check_adds_options_to_the_test_options_and_to_the_default_ones(memstack: Run, two_promises: list[str]) -> None:
    """The promises keep the small options that make them test something; the measurements are of real use."""
    code, out, _ = memstack("check", "hnsw", "-o", "m=12", *SMALL, "--json", "numbers.json")
    assert code == 0
    numbers = json.loads(Path("numbers.json").read_text())
    small, real = registry().spec("hnsw").test_options, registry().options("hnsw", {})
    assert numbers["promises"]["options"] == {**small, "m": 12}
    assert numbers["measurements"]["options"] == {**real.model_dump(), "m": 12}
    assert f"tested with {', '.join(f'{name}={value}' for name, value in {**small, 'm': 12}.items())}" in out
    assert "measured with its default options and m=12" in out


def test_a_broken_promise_fails_the_check(
    memstack: Run, two_promises: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = runner.PromiseResult("test_it", "It is so.", "fail", "it is [not]", 0.1)
    monkeypatch.setattr(runner, "check_memory", lambda *_, **__: runner.Report((broken,)))
    code, out, _ = memstack("check", "exact", *SMALL, "--json", "numbers.json")
    assert code == 1
    assert "fail: It is so. it is [not]" in out
    assert "exact: 0 of 2 promises kept, 2 broken" in out
    assert Path("numbers.json").exists()


def test_what_cannot_be_measured_is_said_and_fails_nothing(
    memstack: Run, two_promises: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = check_report.measure_memory

    def fragile(memory: Memory, key_set: str) -> Measurement:
        if key_set == "repeating":
            raise RuntimeError("I have seen this key before")
        return real(memory, key_set)

    monkeypatch.setattr(check_report, "measure_memory", fragile)
    code, out, _ = memstack("check", "exact", *SMALL, "--json", "numbers.json")
    assert code == 0
    assert listed(out, "drifting")
    assert "not measured: repeating: RuntimeError: I have seen this key before" in out
    failures = json.loads(Path("numbers.json").read_text())["measurements"]["failures"]
    assert failures == {"repeating": "RuntimeError: I have seen this key before"}
