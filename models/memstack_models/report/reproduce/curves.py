"""The part of a gap that fine-tuning closes, by steps: figure 6."""

from statistics import mean

from memstack_models.report.reproduce.grid import Cell
from memstack_models.report.reproduce.records import ReproduceRecord
from memstack_models.report.reproduce.summary import outcomes

Points = list[tuple[float, float]]
"""Steps in per cent of the first training's, and the part of the gap that is closed."""


def ends(record: ReproduceRecord) -> tuple[Cell, Cell] | None:
    """The cells between which the gap lies: without a memory, and with one from the start."""
    found = [cell for cell in record.grid.cells if cell.validated]
    without, with_memory = ([cell for cell in found if bool(cell.memory) == has] for has in (False, True))
    return (without[0], with_memory[0]) if without and with_memory else None


def gap(record: ReproduceRecord, corpus: str) -> float | None:
    """Return by how much perplexity the model with a memory from the start is better, on the validation documents."""
    between = ends(record)
    if between is None:
        return None
    worse, better = (_validated(record, corpus, cell.name) for cell in between)
    return worse - better if worse is not None and better is not None else None


def closed(record: ReproduceRecord, corpus: str, cell: str) -> Points:
    """Return the part of the gap that a fine-tuned cell has closed at each of its validations, the mean of seeds."""
    width, between = gap(record, corpus), ends(record)
    if width is None or width <= 0 or between is None:
        return []
    first = outcomes(record, corpus, between[0].name)[0].steps
    start = _validated(record, corpus, between[0].name) or 0.0
    found: dict[int, list[float]] = {}
    for each in outcomes(record, corpus, cell):
        for point in each.curve:
            value = point.without if point.with_memory is None else point.with_memory
            found.setdefault(point.step, []).append((start - value) / width)
    return [(100 * step / first, mean(shares)) for step, shares in sorted(found.items())]


def steps_to(points: Points, share: float) -> float | None:
    """Return at how many steps, in per cent, that part of the gap was closed first; None if it never was."""
    return next((steps for steps, part in points if part >= share), None)


def _validated(record: ReproduceRecord, corpus: str, cell: str) -> float | None:
    values = [
        each.validation.perplexity
        for each in outcomes(record, corpus, cell)
        if each.validation is not None and each.validation.perplexity is not None
    ]
    return mean(values) if values else None
