"""What a report concludes from its numbers: by one rule with its pictures, and nothing from within the noise."""

import pytest
from helpers.report_numbers import made_up, point, read, repeated, step
from memstack_models.report.conclusions import conclusions, standing_text
from memstack_models.report.findings import (
    Standing,
    against_exact,
    backend_names,
    good_enough,
    standings,
    steps_against_none,
)
from memstack_models.report.records import Measured
from memstack_models.report.style import plain, short

from memstack.measure.hardware import Load
from memstack.measure.sweep import pareto_front


def standing_of(results: Measured, backend: str) -> Standing:
    return next(standing for standing in standings(results) if standing.backend == backend)


def crossover(results: Measured, backend: str) -> float | None:
    return standing_of(results, backend).crossover


def test_the_crossover_is_where_the_cost_falls_below_that_of_exact_search() -> None:
    results = made_up(late=[100, 200, 500], never=[11, 101, 1001], always=[1, 2, 3], short=[20, 50], slow=[30])
    assert crossover(results, "late") == pytest.approx(10**2.5, rel=1e-3)
    assert crossover(results, "never") is None
    assert crossover(results, "always") == 0.0
    assert crossover(results, "short") == pytest.approx(10**1.5, rel=1e-3)
    (said,) = conclusions(results)
    assert "late is cheaper than exact search from about 320 entries on, up to 1,000;" in said
    assert "never is not cheaper than exact search up to 1,000 entries" in said
    assert "short is cheaper than exact search from about 32 entries on, up to 100 (with more it was given up" in said
    assert "slow is not cheaper than exact search up to 10 entries (with more it was given up or missed" in said


def test_at_some_entries_and_from_some_entries_on_are_told_apart() -> None:
    """What the picture has below 1 at the left is said, also where it is above 1 further right."""
    early = repeated("early", 10, (0.7, 0.72, 0.75)), repeated("early", 100, (2.0, 2.1, 2.2))
    both = (
        repeated("both", 10, (0.7, 0.72, 0.75)),
        repeated("both", 100, (2.0, 2.0, 2.1)),
        repeated("both", 1000, (0.5,) * 3),
    )
    results = made_up(*early, *both)
    assert standing_of(results, "early").cheaper_at == [10]
    text = standing_text(standing_of(results, "early"))
    assert text.startswith("early is cheaper than exact search at 10 entries, not at 100")
    told = standing_text(standing_of(results, "both"))
    assert (
        told == "both is cheaper than exact search at 10 entries and from about 320 entries on, up to 1,000, not at 100"
    )


def test_what_differs_within_the_repeats_is_no_difference() -> None:
    noisy = [repeated("noisy", size, (0.7, 0.8, 1.1)) for size in (10, 100, 1000)]
    results = made_up(*noisy)
    assert [cost.times.verdict for cost in standing_of(results, "noisy").costs] == ["level"] * 3
    text = standing_text(standing_of(results, "noisy"))
    assert (
        text == "noisy is not cheaper than exact search up to 1,000 entries (no measurable difference at 10 to 1,000)"
    )
    near = [repeated("near", size, (0.98, 0.985, 0.99)) for size in (10, 100, 1000)]
    assert standing_of(made_up(*near), "near").crossover is None  # in every repeat, but by less than can be measured


def test_where_the_noise_ends_it_is_cheaper_from_a_measured_size_on() -> None:
    points = (
        repeated("b", 10, (0.9, 0.95, 1.2)),
        repeated("b", 100, (0.5, 0.5, 0.5)),
        repeated("b", 1000, (0.4, 0.4, 0.4)),
    )
    assert (
        standing_text(standing_of(made_up(*points), "b"))
        == "b is cheaper than exact search from 100 entries on, up to 1,000"
    )


def test_a_slow_moment_of_the_machine_disturbs_both_of_a_turn() -> None:
    disturbed = point("b", 100, 50, search_repeats_ms=(50.0, 500.0, 51.0), exact_repeats_ms=(100.0, 1000.0, 102.0))
    times = against_exact(made_up(disturbed), disturbed)
    assert (times.low, times.high) == (pytest.approx(0.5), pytest.approx(0.5))


def test_a_setting_below_the_target_does_not_count() -> None:
    results = made_up(point("poor", 1000, 1.0, recall=0.9))
    assert crossover(results, "poor") is None
    assert {one.backend for one in good_enough(results)} == {"exact"}
    assert backend_names(results) == ["exact", "poor"]


def test_the_fastest_search_is_so_in_every_repeat() -> None:
    exact = point("exact", 100, 100.0)
    for times, told in (
        ((0.5, 0.5, 0.6), "2.0 times as many queries"),
        ((0.5, 0.9, 1.2), "nothing searches measurably"),
    ):
        fast = repeated("fast", 100, times)
        said = conclusions(made_up().model_copy(update={"settings": (exact, fast)}))
        assert told in said[0]


def test_a_cost_within_the_noise_is_no_measurable_cost() -> None:
    exact = read("exact", [8, 9, 10, 11, 12, 10, 9, 11])
    free = read("free", [8.1, 8.9, 10.1, 10.9, 12.1, 9.9, 9.1, 10.9], recall=0.95)
    dear = read("dear", [8.8, 9.9, 11, 12.1, 13.2, 11, 9.9, 12.1], recall=0.5)
    results = made_up().model_copy(update={"perplexity": (exact, free, dear)})
    said = " ".join(conclusions(results))
    assert "a recall of 0.95 has no measurable cost" in said
    assert "a recall of 0.50 costs +10.00 % (+10.00 % to +10.00 %)" in said
    assert "-" not in said.partition("In perplexity")[2]  # no gain either


def test_the_fair_opponent_is_named_and_this_model_without_its_memory_is_called_so() -> None:
    exact, off = read("exact", [8, 9, 10]), read("memory off", [16, 18, 20], kind="none")
    alone = conclusions(made_up().model_copy(update={"perplexity": (exact, off)}))
    assert "this model, memory off: 17.9" in alone[0]
    assert "fair opponent" in alone[0]
    fair = read("plain-run", [10, 11.25, 12.5], kind="opponent")
    said = conclusions(made_up().model_copy(update={"perplexity": (exact, off, fair)}))
    assert "Against plain-run the memory saves 20% of the perplexity (20% to 20%)." in said[0]


@pytest.mark.parametrize(("times", "told"), [((1.5, 1.5, 1.6), "and 1.5 times with b"), ((1.5, 1.9, 2.2), "no other")])
def test_a_training_step_is_called_shorter_if_the_ranges_do_not_meet(times: tuple[float, ...], told: str) -> None:
    steps = step(None, 0, [1.0]), step("exact", 64, [2.0, 2.0, 2.1]), step("b", 64, times)
    results = made_up().model_copy(update={"steps": steps})
    assert [each.middle for _, each in steps_against_none(results)] == [2.0, times[1]]
    assert told in conclusions(results)[-1]


def test_a_busy_machine_is_said_first() -> None:
    """Its own threads at the end are no others."""
    quiet = {"load_before": Load(average=0.2, cores=2), "load_after": Load(average=2.1, cores=2), "threads": 2}
    assert len(conclusions(made_up(b=[1, 2, 3]).model_copy(update=quiet))) == 1
    busy = quiet | {"load_before": Load(average=3.2, cores=2)}
    said = conclusions(made_up(b=[1, 2, 3]).model_copy(update=busy))
    assert said[0].startswith(
        "Something else was running on this machine: its load was 3.2 on 2 cores before it began."
    )


def test_a_front_has_what_nothing_else_beats() -> None:
    measured = [point("any", 10, *each) for each in ((9, 0.99), (5, 0.9), (6, 0.8), (2, 0.7))]
    assert [one.recall for one in pareto_front(measured)] == [0.99, 0.9, 0.7]


def test_numbers_are_written_without_exponents() -> None:
    assert [short(size) for size in (512, 1024, 65536, 1 << 20)] == ["512", "1k", "64k", "1M"]
    assert [plain(value) for value in (0.05, 20, 3000, 2e6)] == ["0.05", "20", "3k", "2M"]
