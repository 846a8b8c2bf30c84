"""report(): measure every backend on a checkpoint's own keys and draw the page; redraw() only draws it."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from memstack import ConfigError
from memstack_models.evaluation.comparison import Comparison
from memstack_models.evaluation.recording import recordable, recording
from memstack_models.report.collect import FORMAT, PROBE, Plan, gather
from memstack_models.report.conclusions import conclusions
from memstack_models.report.html import write_page
from memstack_models.training import run_folder

RESULTS = "results.json"
Results = dict[str, Any]


def report(
    checkpoint: str,
    folder: Path,
    plan: Plan,
    *,
    target: float = 0.95,
    seed: int = 0,
    overrides: Sequence[str] = (),
    tell: Callable[[str], None] = lambda doing: None,
) -> Results:
    """Measure, write results.json, the pictures and the page into ``folder``; return the results.

    What failed is listed in their ``failures`` and on the page.
    """
    start = time.perf_counter()
    tell(f"recording the keys of {checkpoint}")
    comparison = Comparison(run_folder.find(checkpoint), [*plan.overrides, *overrides], PROBE)
    segment = comparison.run.train.segment
    fitting = plan.within(recordable(checkpoint, overrides) - segment)
    recorded = recording(checkpoint, fitting.recorded + segment, overrides)
    results = gather(fitting, comparison, recorded, target, seed, tell)
    results["given_up"] += [
        {"part": "sizes", "setting": "every backend", "entries": size, "reason": "the held-out text is too short"}
        for size in plan.sizes
        if size not in fitting.sizes
    ]
    results |= {
        "conclusions": conclusions(results),
        "checkpoint": checkpoint,
        "entries": fitting.entries,
        "capacity": fitting.capacity,
        "tokens": comparison.tokens,
        "minutes": (time.perf_counter() - start) / 60,
    }
    folder.mkdir(parents=True, exist_ok=True)
    # Before anything is drawn: what took minutes to measure should outlive a mistake in a picture.
    (folder / RESULTS).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_page(results, folder)
    return results


def redraw(results: Path) -> Path:
    """Draw pictures and page again from a results.json, beside it; returns the page's path."""
    try:
        read = json.loads(results.read_text(encoding="utf-8"))
        known = read["format"] == FORMAT
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        known, read = False, {}
    if not known:
        raise ConfigError(f"{results} holds no results of this version of memstack report: measure again")
    return write_page(read, results.parent)
