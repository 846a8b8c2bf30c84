"""report(): measure every backend on a checkpoint's own keys and draw the page; redraw() only draws it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from memstack_models.evaluation.comparison import Comparison
from memstack_models.evaluation.recording import recordable, recording
from memstack_models.report.collect import PROBE, Plan, gather
from memstack_models.report.conclusions import conclusions
from memstack_models.report.html import write_page
from memstack_models.report.records import LeftOut, Report
from memstack_models.training import run_folder

RESULTS = "results.json"


def report(
    checkpoint: str,
    folder: Path,
    plan: Plan,
    *,
    target: float = 0.95,
    seed: int = 0,
    overrides: Sequence[str] = (),
    tell: Callable[[str], None] = lambda doing: None,
) -> Report:
    """Measure, write results.json, the pictures and the page into ``folder``; return the results.

    What failed is listed in their ``failures`` and on the page.
    """
    start = time.perf_counter()
    tell(f"recording the keys of {checkpoint}")
    comparison = Comparison(run_folder.find(checkpoint), [*plan.overrides, *overrides], PROBE)
    segment = comparison.run.train.segment
    fitting = plan.within(recordable(checkpoint, overrides) - segment)
    recorded = recording(checkpoint, fitting.recorded + segment, overrides)
    measured = gather(fitting, comparison, recorded, target, seed, tell)
    beyond = [
        LeftOut(part="sizes", setting="every backend", entries=size, reason="the held-out text is too short")
        for size in plan.sizes
        if size not in fitting.sizes
    ]
    results = Report(
        **dict(measured.model_copy(update={"given_up": (*measured.given_up, *beyond)})),
        conclusions=tuple(conclusions(measured)),
        checkpoint=checkpoint,
        entries=fitting.entries,
        capacity=fitting.capacity,
        tokens=comparison.tokens,
        minutes=(time.perf_counter() - start) / 60,
    )
    # Before anything is drawn: what took minutes to measure should outlive a mistake in a picture.
    results.write(folder / RESULTS)
    write_page(results, folder)
    return results


def redraw(results: Path) -> Path:
    """Draw pictures and page again from a results.json, beside it; returns the page's path.

    Raises RecordError for a file that holds no report.
    """
    return write_page(Report.read(results), results.parent)
