"""What a report's findings say, in a few plain sentences."""

from collections.abc import Sequence
from math import inf

from memstack.measure.sweep import label
from memstack_models.evaluation.spread import Interval
from memstack_models.report.findings import (
    Standing,
    Times,
    Verdict,
    cost_of,
    disturbed,
    exact_at,
    exact_read,
    name_of,
    search_against_exact,
    standings,
    steps_against_none,
)
from memstack_models.report.records import Measured, Read


def conclusions(results: Measured) -> list[str]:
    """What a reader should take away, in plain sentences; first, if something else was running, that it was."""
    said = [_fastest(results), _crossovers(results), _price(results), _opponents(results), _step(results)]
    found = [sentence for sentence in said if sentence]
    return [_disturbed(results), *found] if found and disturbed(results) else found


def _disturbed(results: Measured) -> str:
    told = " and ".join(disturbed(results))
    return (
        f"Something else was running on this machine: its load was {told}. Times may be too long; ratios to "
        "exact search, which was measured in turns, are more to be believed."
    )


def _fastest(results: Measured) -> str:
    measured = [point for point in results.settings if point.recall >= results.target]
    exact = next((point for point in measured if point.backend == results.exact), None)
    if exact is None:
        return ""
    best = max(measured, key=lambda point: point.queries_per_s)
    times = search_against_exact(results, best)
    if best.backend == exact.backend or times.verdict != "less":
        reached = f"at a recall of {results.target} or more"
        return f"With {best.entries:,} entries nothing searches measurably faster than {exact.backend} {reached}."
    return (
        f"With {best.entries:,} entries and a recall of {results.target} or more, the fastest search is "
        f"{label(best.backend, best.options)}: {1 / times.middle:.1f} times as many queries a second as "
        f"{exact.backend} ({1 / times.high:.1f} to {1 / times.low:.1f} in the repeats), at a recall of "
        f"{best.recall:.3f}."
    )


def _crossovers(results: Measured) -> str:
    found = standings(results)
    if not found or not exact_at(results):
        return ""
    parts = "; ".join(map(standing_text, found))
    return f"A search and an add together, at a recall of {results.target} or more: {parts}."


def standing_text(standing: Standing) -> str:
    """Where one backend is cheaper: at some sizes, or from one on; and up to which size anything is known."""
    name, stretches = standing.backend, standing.stretches
    if not stretches:
        return f"{name} did not reach it"
    last = standing.costs[-1].entries
    if not standing.cheaper_at:
        told = f"{name} is not cheaper than exact search up to {last:,} entries{_level(stretches)}"
    elif standing.crossover == 0.0:
        told = f"{name} is cheaper than exact search at every size measured, {_sizes(standing.cheaper_at)} entries"
    else:
        told = f"{name} is cheaper than exact search {_where(standing, stretches)}"
    return f"{told} (with more it was given up or missed the target)" if standing.missed else told


def _where(standing: Standing, stretches: Sequence[tuple[Verdict, list[int]]]) -> str:
    """``at 1,024 entries, not at 4,096 to 16,384``; ``from about 80,000 entries on, up to 262,144``."""
    ended = [sizes for verdict, sizes in stretches[:-1] if verdict == "less"]
    parts = [f"at {_sizes(sizes)} entries" for sizes in ended]
    if standing.crossover is None:
        parts += [f"at {_sizes(stretches[-1][1])} entries"] if stretches[-1][0] == "less" else []
    else:
        parts.append(f"from {crossover_text(standing)} entries on, up to {standing.costs[-1].entries:,}")
    if not ended:
        return " and ".join(parts)
    between = [_sizes(sizes) for verdict, sizes in stretches if verdict != "less"]
    return f"{' and '.join(parts)}, not at {' or at '.join(between)}"


def crossover_text(standing: Standing) -> str:
    """Where it begins to be cheaper: a size that was measured, or about what lies between two."""
    entries = standing.crossover or 0.0
    return f"{int(entries):,}" if entries in standing.cheaper_at else f"about {rounded(entries):,}"


def _level(stretches: Sequence[tuple[Verdict, list[int]]]) -> str:
    level = [_sizes(sizes) for verdict, sizes in stretches if verdict == "level"]
    return f" (no measurable difference at {' or at '.join(level)})" if level else ""


def _sizes(sizes: Sequence[int]) -> str:
    return f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"


def _price(results: Measured) -> str:
    """What the lowest and the nearly sufficient recall cost in perplexity."""
    exact = exact_read(results)
    backends = [read for read in results.perplexity if read.kind == "backend" and read.recall is not None]
    if exact is None or not backends:
        return ""
    worst = min(backends, key=lambda read: read.recall or 0.0)
    near = min(backends, key=lambda read: abs((read.recall or 0.0) - results.target))
    told = [f"a recall of {read.recall:.2f} {cost_text(results, read)}" for read in (near, worst)]
    return (
        f"In perplexity, against {exact.perplexity:.3f} with all true neighbours, {' and '.join(dict.fromkeys(told))}."
    )


def cost_text(results: Measured, read: Read) -> str:
    """What a memory costs in perplexity, beyond what the choice of the text makes of it."""
    found = cost_of(results, read)
    if found is None or found[1].low <= 1:
        return "has no measurable cost"
    ratio, interval = found
    spread = "" if read.segments is None else f" ({interval_text(interval)})"
    return f"costs {percent(ratio)}{spread}"


def interval_text(interval: Interval) -> str:
    """An interval of ratios, in per cent."""
    return f"{percent(interval.low)} to {percent(interval.high)}"


def times_text(times: Times) -> str:
    """A ratio with how far its repeats were from it."""
    if not times.known:
        return f"{times.middle:.2f}"
    return f"{times.middle:.2f} ± {max(times.high - times.middle, times.middle - times.low):.2f}"


def _opponents(results: Measured) -> str:
    exact = exact_read(results)
    others = [read for read in results.perplexity if read.kind != "backend"]
    if exact is None or not others:
        return ""
    told = ", ".join(f"{name_of(read)}: {read.perplexity:.3f}" for read in others)
    fair = next((read for read in others if read.kind == "opponent"), None)
    if fair is None:
        return (
            f"What it is measured against: {told}. A model of the same context and cache that was trained without a "
            "memory would be the fair opponent: --opponent RUN."
        )
    return f"What it is measured against: {told}. {_saved(results, fair)}"


def _saved(results: Measured, fair: Read) -> str:
    found = cost_of(results, fair)
    if found is None or found[1].holds(1.0):
        return f"Against {fair.name} the memory saves nothing that can be measured."
    ratio, interval = found
    word = "saves" if ratio > 1 else "loses"
    ends = sorted(abs(1 - 1 / each) for each in (interval.low, interval.high))
    spread = "" if interval.high == inf else f" ({ends[0]:.0%} to {ends[1]:.0%})"
    return f"Against {fair.name} the memory {word} {abs(1 - 1 / ratio):.0%} of the perplexity{spread}."


def _step(results: Measured) -> str:
    measured = steps_against_none(results)
    largest = max((step.entries for step, _ in measured if step.backend == results.exact), default=None)
    if largest is None:
        return ""
    times = {str(step.backend): ratio for step, ratio in measured if step.entries == largest}
    exact = times[results.exact]
    best = min(times, key=lambda name: times[name].middle)
    text = f"With {largest:,} entries a training step takes {exact.middle:.1f} times the step without a memory"
    # Both were measured in turns with the same step, not with one another: their ranges must not meet.
    if best == results.exact or times[best].high >= exact.low:
        return f"{text}, and no other backend makes it measurably shorter."
    return f"{text} by exact search, and {times[best].middle:.1f} times with {best}."


def percent(ratio: float) -> str:
    """A ratio as what it is off one, in per cent."""
    return f"{100 * (ratio - 1):+.2f} %"


def rounded(entries: float) -> int:
    """An interpolated number of entries, to two digits."""
    digits = 10 ** max(0, len(str(int(entries))) - 2)
    return round(entries / digits) * digits
