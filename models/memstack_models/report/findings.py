"""Findings: what the numbers of a report show beyond their noise. Pictures and sentences both are made of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, inf, log
from statistics import median
from typing import Literal

from memstack.measure import Point
from memstack_models.evaluation.spread import Interval, perplexity_interval, ratio_interval
from memstack_models.report.records import Measured, Read, StepTime

Verdict = Literal["less", "level", "more"]
MEASURABLE = 0.03
"""Of a ratio of times: what differs by less is not called a difference, however often it was repeated."""
UNKNOWN = 0.1
"""How far a ratio of times may be off of which no repeats were kept."""
UNKNOWN_COST = 0.005
"""The same of a ratio of perplexities."""


@dataclass(frozen=True)
class Times:
    """How many times something else a thing costs: the median of what was measured in turns, and its extremes."""

    middle: float
    low: float
    high: float
    known: bool = True
    """False where no repeats were kept: low and high are then a guess, which no picture shows."""

    @property
    def bar(self) -> tuple[float, float]:
        """The ends of an error bar."""
        return (self.low, self.high) if self.known else (self.middle, self.middle)

    @property
    def verdict(self) -> Verdict:
        """``less`` if every repeat says that it costs less, and measurably; ``more`` likewise; otherwise ``level``."""
        if self.high < 1 - MEASURABLE:
            return "less"
        return "more" if self.low > 1 + MEASURABLE else "level"


@dataclass(frozen=True)
class Cost:
    """Search and add of a backend at one size, against exact search of as many entries."""

    entries: int
    times: Times


@dataclass(frozen=True)
class Standing:
    """Where a backend is cheaper than exact search at the target's recall, of the sizes at which that was measured."""

    backend: str
    costs: tuple[Cost, ...]
    """At the sizes at which it reached the target, rising."""
    missed: bool
    """True if it did not reach the target at the largest size."""

    @property
    def stretches(self) -> list[tuple[Verdict, list[int]]]:
        """Sizes next to one another with one verdict."""
        found: list[tuple[Verdict, list[int]]] = []
        for cost in self.costs:
            if found and found[-1][0] == cost.times.verdict:
                found[-1][1].append(cost.entries)
            else:
                found.append((cost.times.verdict, [cost.entries]))
        return found

    @property
    def cheaper_at(self) -> list[int]:
        """The sizes at which it is cheaper."""
        return [cost.entries for cost in self.costs if cost.times.verdict == "less"]

    @property
    def crossover(self) -> float | None:
        """The number of entries from which on it is cheaper, up to the largest size at which it reached the target.

        Between two sizes it is interpolated, on logarithmic axes. 0.0 if it is cheaper at every size; None if it is not
        at the largest.
        """
        if not self.costs or self.costs[-1].times.verdict != "less":
            return None
        later = next((i for i in range(len(self.costs) - 1, -1, -1) if self.costs[i].times.verdict != "less"), None)
        if later is None:
            return 0.0
        below, above = self.costs[later], self.costs[later + 1]
        slower, faster = below.times.middle, above.times.middle
        if slower < 1:  # cheaper, but within the noise: where it can be told is the next size
            return float(above.entries)
        share = log(slower) / (log(slower) - log(faster)) if slower > 1 else 0.0
        return exp(log(below.entries) + share * (log(above.entries) - log(below.entries)))


def backend_names(results: Measured) -> list[str]:
    """Every backend of which anything was measured, the exact one first."""
    measured = {point.backend for point in (*results.settings, *results.scaling)}
    measured |= {step.backend for step in results.steps if step.backend is not None}
    measured |= {read.name for read in results.perplexity if read.kind == "backend"}
    return [results.exact, *sorted(measured - {results.exact})]


def good_enough(results: Measured) -> list[Point]:
    """For each backend and size the setting that reached the target, where exact search was measured as well."""
    exact = exact_at(results)
    reached = [point for point in results.scaling if point.recall >= results.target]
    return [point for point in reached if point.entries in exact]


def exact_at(results: Measured) -> dict[int, Point]:
    """Exact search, by the entries at which it was measured."""
    return {point.entries: point for point in results.scaling if point.backend == results.exact}


def against_exact(results: Measured, point: Point) -> Times:
    """Search and add of this point, in units of the exact search's at the same size."""
    exact = exact_at(results)[point.entries]
    if point.backend == results.exact:
        return Times(1.0, 1.0, 1.0)
    if not (point.search_repeats_ms and point.exact_repeats_ms):
        return _unknown(point.step_ms / exact.step_ms)
    (add_low, add_high), (exact_low, exact_high) = _add_range(point), _add_range(exact)
    turns = list(zip(point.search_repeats_ms, point.exact_repeats_ms, strict=True))
    return Times(
        median((mine + point.add_ms) / (other + exact.add_ms) for mine, other in turns),
        min((mine + add_low) / (other + exact_high) for mine, other in turns),
        max((mine + add_high) / (other + exact_low) for mine, other in turns),
    )


def search_against_exact(results: Measured, point: Point) -> Times:
    """A search alone, in units of the exact search's among the settings that were measured at one size."""
    exact = next(each for each in results.settings if each.backend == results.exact)
    if not (point.search_repeats_ms and point.exact_repeats_ms):
        return _unknown(point.search_ms / exact.search_ms)
    return _in_turns(point.search_repeats_ms, point.exact_repeats_ms)


def standings(results: Measured) -> list[Standing]:
    """Every backend but the exact one, those first that are cheaper from the fewest entries on."""
    reached, sizes = good_enough(results), sorted(exact_at(results))
    found: list[Standing] = []
    for name in backend_names(results)[1:]:
        mine = [point for point in reached if point.backend == name]
        costs = tuple(Cost(point.entries, against_exact(results, point)) for point in mine)
        found.append(Standing(name, costs, missed=not costs or costs[-1].entries != sizes[-1]))
    return sorted(found, key=lambda one: inf if one.crossover is None else one.crossover)


def steps_against_none(results: Measured) -> list[tuple[StepTime, Times]]:
    """Each training step with a memory, in units of the step without one; nothing if that was not measured."""
    without = next((step.ms for step in results.steps if step.backend is None), None)
    return [(step, _step_times(step, without)) for step in results.steps if step.backend and without is not None]


def cost_of(results: Measured, read: Read) -> tuple[float, Interval] | None:
    """Its perplexity over that with exact search, and between what that lies; None if exact search was not read."""
    exact = exact_read(results)
    if exact is None:
        return None
    ratio = read.perplexity / exact.perplexity
    if read is exact:
        return 1.0, Interval(1.0, 1.0)
    paired = ratio_interval(read.segments, exact.segments) if read.segments and exact.segments else None
    unknown = Interval(ratio * (1 - UNKNOWN_COST), ratio * (1 + UNKNOWN_COST))
    return ratio, paired or _unpaired(read, exact) or unknown


def _unpaired(read: Read, exact: Read) -> Interval | None:
    """Of two that read the text in other pieces: each with the spread that it has alone, if it has one."""
    mine, other = perplexity_range(read), perplexity_range(exact)
    return Interval(mine.low / other.high, mine.high / other.low) if mine and other else None


def exact_read(results: Measured) -> Read | None:
    """The text read with exact search."""
    return next((read for read in results.perplexity if read.kind == "backend" and read.name == results.exact), None)


def perplexity_range(read: Read) -> Interval | None:
    """What its perplexity would be on other texts of the kind; None if that is not known."""
    return None if read.segments is None else perplexity_interval(read.segments)


def name_of(read: Read) -> str:
    """What pictures, tables and sentences call it: a model made for a memory is no opponent with its memory off."""
    return "this model, memory off" if read.kind == "none" else read.name


def disturbed(results: Measured) -> list[str]:
    """When something else was running, in words, by the machine's load; empty if nothing is known to have been."""
    before, after, threads = results.load_before, results.load_after, results.threads or 1
    told = [f"{before} before it began"] if before and before.others() else []
    return [*told, *([f"{after} when it ended"] if after and after.others(threads) else [])]


def within(values: Iterable[float], interval: Interval | None) -> bool:
    """True if all of the values lie in the interval."""
    return interval is not None and all(interval.holds(value) for value in values)


def _unknown(ratio: float) -> Times:
    return Times(ratio, ratio * (1 - UNKNOWN), ratio * (1 + UNKNOWN), known=False)


def _in_turns(mine: Sequence[float], others: Sequence[float]) -> Times:
    ratios = [one / other for one, other in zip(mine, others, strict=True)]
    return Times(median(ratios), min(ratios), max(ratios))


def _step_times(step: StepTime, without: float) -> Times:
    if not (step.repeats_ms and step.without_repeats_ms):
        return _unknown(step.ms / without)
    return _in_turns(step.repeats_ms, step.without_repeats_ms)


def _add_range(point: Point) -> tuple[float, float]:
    """The mean add, as far off as half of the single ones were: the rare ones that rebuild are no noise."""
    low, high = point.add_quartiles_ms or (point.add_ms, point.add_ms)
    off = (high - low) / (high + low) if high + low else 0.0
    return point.add_ms * (1 - off), point.add_ms * (1 + off)
