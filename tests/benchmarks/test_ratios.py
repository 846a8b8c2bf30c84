"""Calls in turns: ratios of the same turn, figures beside their goals, and what else the machine did."""

from pathlib import Path

import pytest

from benchmarks.goals import busy
from benchmarks.goals.busy import Watch
from benchmarks.goals.turns import ratio, reported, row, show, times


def test_calls_are_made_in_turns_by_the_clock_that_is_given() -> None:
    made, ticks = list[str](), iter(range(100))
    calls = {name: lambda name=name: made.append(name) for name in ("one", "two")}
    taken = times(calls, 3, lambda: float(next(ticks)))
    assert made == ["one", "two"] * 4  # the first is not timed
    assert taken == {"one": [1.0] * 3, "two": [1.0] * 3}


def test_a_ratio_is_of_the_same_turn(capsys: pytest.CaptureFixture[str]) -> None:
    """A machine that is slow in one turn slows both."""
    found = ratio({"ours": [1.0, 10.0, 3.0], "floor": [2.0, 20.0, 2.0]}, "ours", "floor")
    assert found == (0.5, 0.5, 1.5)
    rows = [row("at most", found, 0.4), row("at least", found, 0.4, least=True), reported("alone", 2.0)]
    assert [each.met for each in rows] == [False, True, True]
    show(rows)
    short, reached, alone = capsys.readouterr().out.splitlines()[2:]
    assert short.split() == ["at", "most", "≤", "0.4", "0.5", "0.5", "-", "1.5", "short"]
    assert reached.split() == ["at", "least", "≥", "0.4", "0.5", "0.5", "-", "1.5"]
    assert alone.split() == ["alone", "reported", "2"]


def used(path: Path, ticks: int) -> None:
    path.write_text(f"cpu  {ticks} 0 0 500 0 0 0 0 0 0\ncpu0 {ticks} 0 0 500 0 0 0 0 0 0\n")


@pytest.mark.parametrize(("ticks", "warned"), [(0, False), (10**9, True)])
def test_a_busy_machine_is_told(
    ticks: int, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(busy, "STAT", tmp_path / "stat")
    used(busy.STAT, 0)
    watch = Watch()
    used(busy.STAT, ticks)
    others = watch.tell()
    assert others is not None
    assert (others > busy.LIMIT) == warned
    told = capsys.readouterr()
    assert f"others used {others:.0%} of the processors meanwhile" in told.out.replace("\n", " ")
    assert ("measure again where nothing else runs" in told.err.replace("\n", " ")) == warned


def test_where_that_is_not_known_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(busy, "STAT", tmp_path / "none")
    assert Watch().tell() is None
    assert capsys.readouterr() == ("", "")
