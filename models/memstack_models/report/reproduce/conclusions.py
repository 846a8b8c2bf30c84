"""What a table's numbers say, in sentences: where they reach the paper, and where they fall short of it."""

from collections.abc import Iterator
from itertools import pairwise

from memstack_models.report.reproduce.curves import closed, gap, steps_to
from memstack_models.report.reproduce.records import ReproduceRecord
from memstack_models.report.reproduce.summary import (
    Mean,
    change,
    labels,
    named,
    outcomes,
    own_label,
    percent,
    percent_of,
    perplexity,
    published_change,
)

REACHED = 0.005
"""How much of the perplexity a change may lack and still count as the paper's."""
WANTED = 0.85
"""Of the gap: what the paper's figure 6 says of 20,000 steps."""


def conclusions(record: ReproduceRecord) -> Iterator[str]:
    """Yield a sentence for each thing that a table is to find out, of what was measured."""
    for corpus in record.corpora:
        yield from _gains(record, corpus)
        if record.grid.picture == "sizes":
            yield from _growth(record, corpus)
        if record.grid.picture == "models":
            yield from _models(record, corpus)
        if record.grid.picture == "steps":
            yield from _steps(record, corpus)
        if record.grid.picture == "recall":
            yield from _recall(record, corpus)


def _gains(record: ReproduceRecord, corpus: str) -> Iterator[str]:
    """Every cell with the memory that it was trained with, beside the paper's."""
    for cell in record.grid.cells:
        found = change(record, corpus, cell.name, own_label(cell)) if cell.memory else None
        if found is None:
            continue
        said = f"{corpus}, {cell.name}: {percent_of(found)} of perplexity against {cell.against}"
        if found.says_nothing:
            said += ", which may be nothing"
        off = change(record, corpus, cell.name, "none")
        if off is not None and off.value <= found.value / 2 < 0:
            said += f" ({percent(off.value)} with its memory off: most of it is not what is retrieved)"
        paper = published_change(record.grid, corpus, cell.name, own_label(cell))
        yield said + (f"; {_beside(found, paper)}" if paper is not None else "")


def _beside(found: Mean, paper: float) -> str:
    if found.value <= paper + REACHED:
        return f"the paper has {percent(paper)}: reached"
    what = "it falls short" if found.value < 0 else "it does not gain at all"
    return f"the paper has {percent(paper)}: {what}"


def _growth(record: ReproduceRecord, corpus: str) -> Iterator[str]:
    """Whether perplexity falls with every step of memory size, of each cell that was read with three or more."""
    for cell in record.grid.cells:
        sizes = [(label, perplexity(record, corpus, cell.name, label)) for label in labels(record, cell.name)]
        there = [(label, found.value) for label, found in sizes if found is not None]
        if len(there) < 3:
            continue
        rises = [
            f"{named(one)} to {named(other)} ({percent(after / before - 1, 2)})"
            for (one, before), (other, after) in pairwise(there)
            if after >= before
        ]
        ends = f"{named(there[0][0])} to {named(there[-1][0])}"
        if rises:
            yield f"{corpus}, {cell.name}: perplexity does not fall from {' nor from '.join(rises)}"
        else:
            yield f"{corpus}, {cell.name}: perplexity falls with every step of memory size from {ends}"


def _models(record: ReproduceRecord, corpus: str) -> Iterator[str]:
    """How much larger a model without a memory has to be."""
    for cell in record.grid.cells:
        found = perplexity(record, corpus, cell.name, own_label(cell)) if cell.memory else None
        if found is None:
            continue
        own = outcomes(record, corpus, cell.name)[0].parameters
        plain = [
            (outcomes(record, corpus, each.name)[0].parameters / own, other.value)
            for each in record.grid.cells
            if not each.memory and (other := perplexity(record, corpus, each.name, "none")) is not None
        ]
        as_good = [size for size, value in sorted(plain) if value <= found.value]
        if as_good:
            yield f"{corpus}: a model without a memory of {as_good[0]:.1f} times its size is as good as {cell.name}"
        elif plain:
            size, value = max(plain)
            yield (
                f"{corpus}: {cell.name} is better than the largest model without a memory, of {size:.1f} times its "
                f"size, by {100 * (1 - found.value / value):.1f} %"
            )


def _steps(record: ReproduceRecord, corpus: str) -> Iterator[str]:
    width = gap(record, corpus)
    if width is None:
        return
    if width <= 0:
        yield f"{corpus}: there is no gap to close, the model with a memory from the start is no better"
        return
    for cell in record.grid.cells:
        points = closed(record, corpus, cell.name)
        if not points or not cell.memory:
            continue
        at = steps_to(points, WANTED)
        best = max(share for _, share in points)
        reached = f"within {at:g} % of the first training's steps" if at is not None else "is not reached"
        yield (
            f"{corpus}, {cell.name}: {WANTED:.0%} of the gap {'closes ' if at is not None else ''}{reached}; at best "
            f"{best:.0%} closes. The paper has 85 % within 4 %"
        )


def _recall(record: ReproduceRecord, corpus: str) -> Iterator[str]:
    for cell in record.grid.cells:
        exact = perplexity(record, corpus, cell.name, own_label(cell))
        if not cell.searches or exact is None:
            continue
        for label in labels(record, cell.name):
            found = perplexity(record, corpus, cell.name, label)
            recalls = [
                each.recall
                for one in outcomes(record, corpus, cell.name)
                for each in one.readings
                if each.label == label and each.recall is not None
            ]
            if found is not None and recalls and label != own_label(cell):
                yield (
                    f"{corpus}, {label}: recall {sum(recalls) / len(recalls):.3f} costs "
                    f"{percent(found.value / exact.value - 1, 2)} of perplexity against exact search"
                )
