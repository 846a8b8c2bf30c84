"""What a report's numbers say: crossovers, what recall costs, and a few plain sentences."""

from collections.abc import Sequence
from math import exp, inf, log

from memstack.measure import Point
from memstack.measure.sweep import label
from memstack_models.report.records import Measured


def backend_names(results: Measured) -> list[str]:
    """Every backend of which anything was measured, the exact one first."""
    measured = {point.backend for point in (*results.settings, *results.scaling)}
    measured |= {step.backend for step in results.steps if step.backend is not None}
    measured |= {read.name for read in results.perplexity if read.kind == "backend"}
    return [results.exact, *sorted(measured - {results.exact})]


def good_enough(results: Measured) -> list[Point]:
    """For each backend and size the setting that reached the target, where exact search was measured as well."""
    exact = _exact_at(results)
    reached = [point for point in results.scaling if point.recall >= results.target]
    return [point for point in reached if point.entries in exact]


def against_exact(results: Measured, point: Point) -> float:
    """Search and add of this point, in units of the exact search's at the same size."""
    return point.step_ms / _exact_at(results)[point.entries].step_ms


def crossover(results: Measured, backend: str) -> float | None:
    """The number of entries from which on a backend is faster than exact search, at the target's recall.

    Between two sizes it is interpolated, on logarithmic axes. 0.0 if it is faster at every size measured; None if it is
    not at the largest one at which it reached the target.
    """
    mine = [point for point in good_enough(results) if point.backend == backend]
    ratios = [(point.entries, against_exact(results, point)) for point in mine]
    if not ratios or ratios[-1][1] >= 1:
        return None
    later = next((i for i in range(len(ratios) - 1, -1, -1) if ratios[i][1] >= 1), None)
    if later is None:
        return 0.0
    (below, slower), (above, faster) = ratios[later], ratios[later + 1]
    share = log(slower) / (log(slower) - log(faster)) if slower > 1 else 0.0
    return exp(log(below) + share * (log(above) - log(below)))


def steps_against_none(results: Measured) -> list[tuple[str, int, float]]:
    """Backend, entries, and a training step in units of the step without a memory; nothing if that was not measured."""
    without = next((step.ms for step in results.steps if step.backend is None), None)
    if without is None:
        return []
    return [(step.backend, step.entries, step.ms / without) for step in results.steps if step.backend]


def conclusions(results: Measured) -> list[str]:
    """What a reader should take away, in plain sentences."""
    said = [_fastest(results), _crossovers(results), _price(results), _baselines(results), _step(results)]
    return [sentence for sentence in said if sentence]


def _exact_at(results: Measured) -> dict[int, Point]:
    return {point.entries: point for point in results.scaling if point.backend == results.exact}


def _fastest(results: Measured) -> str:
    measured = [point for point in results.settings if point.recall >= results.target]
    exact = next((point for point in measured if point.backend == results.exact), None)
    if exact is None:
        return ""
    best = max(measured, key=lambda point: point.queries_per_s)
    if best.backend == exact.backend:
        reached = f"at a recall of {results.target} or more"
        return f"With {best.entries:,} entries nothing searches faster than {exact.backend} {reached}."
    times = best.queries_per_s / exact.queries_per_s
    return (
        f"With {best.entries:,} entries and a recall of {results.target} or more, the fastest search is "
        f"{label(best.backend, best.options)}: {times:.1f} times as many queries a second as {exact.backend}, "
        f"at a recall of {best.recall:.3f}."
    )


def _crossovers(results: Measured) -> str:
    found = {name: crossover(results, name) for name in backend_names(results)[1:]}
    sizes = sorted(_exact_at(results))
    if not found or not sizes:
        return ""
    ordered = sorted(found.items(), key=lambda one: inf if one[1] is None else one[1])
    parts = [_crossing(results, name, entries, sizes) for name, entries in ordered]
    return f"A search and an add together, at a recall of {results.target} or more: {'; '.join(parts)}."


def _crossing(results: Measured, name: str, entries: float | None, sizes: Sequence[int]) -> str:
    """What is known of one backend, and up to which size: it may have been given up, or have missed the target."""
    reached = [point.entries for point in good_enough(results) if point.backend == name]
    if not reached:
        return f"{name} did not reach it"
    if entries is None:
        told = f"{name} is not cheaper than exact search up to {reached[-1]:,} entries"
    elif entries == 0.0:
        told = f"{name} is cheaper than exact search at every size measured, {reached[0]:,} to {reached[-1]:,} entries"
    else:
        told = f"{name} is cheaper than exact search from about {rounded(entries):,} entries on, up to {reached[-1]:,}"
    return told if reached[-1] == sizes[-1] else f"{told} (with more it was given up or missed the target)"


def _price(results: Measured) -> str:
    """What the lowest and the nearly sufficient recall cost in perplexity."""
    exact = _perplexity_of(results, results.exact)
    backends = [read for read in results.perplexity if read.kind == "backend"]
    approximate = [(read.recall, read.perplexity) for read in backends if read.recall is not None]
    if exact is None or not approximate:
        return ""
    worst = min(approximate, key=lambda one: one[0])
    near = min(approximate, key=lambda one: abs(one[0] - results.target))
    told = [f"a recall of {recall:.2f} costs {_percent(perplexity / exact)}" for recall, perplexity in (near, worst)]
    return f"In perplexity, against {exact:.3f} with all true neighbours, {' and '.join(dict.fromkeys(told))}."


def _baselines(results: Measured) -> str:
    exact = _perplexity_of(results, results.exact)
    baselines = [read for read in results.perplexity if read.kind != "backend"]
    if exact is None or not baselines:
        return ""
    told = ", ".join(f"{read.name}: {read.perplexity:.3f}" for read in baselines)
    return f"What it is measured against: {told}."


def _step(results: Measured) -> str:
    measured = steps_against_none(results)
    largest = max((entries for name, entries, _ in measured if name == results.exact), default=None)
    if largest is None:
        return ""
    times = {name: ratio for name, entries, ratio in measured if entries == largest}
    best = min(times, key=lambda name: times[name])
    text = f"With {largest:,} entries a training step takes {times[results.exact]:.1f} times the step without a memory"
    if best == results.exact:
        return f"{text}, and no other backend makes it shorter."
    return f"{text} by exact search, and {times[best]:.1f} times with {best}."


def _perplexity_of(results: Measured, name: str) -> float | None:
    return next((read.perplexity for read in results.perplexity if read.name == name), None)


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.2f} %"


def rounded(entries: float) -> int:
    """An interpolated number of entries, to two digits."""
    digits = 10 ** max(0, len(str(int(entries))) - 2)
    return round(entries / digits) * digits
