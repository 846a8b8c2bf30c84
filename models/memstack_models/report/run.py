"""report(): measures, concludes, and writes numbers, pictures and page; redraw() only draws it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from memstack import ConfigError
from memstack.cli.console import say
from memstack.measure import describe_hardware
from memstack.measure.hardware import machine_load
from memstack_models.evaluation.comparison import Comparison
from memstack_models.evaluation.recording import recordable, recording
from memstack_models.report.attempts import Attempts
from memstack_models.report.collect import PROBE, Subject, gather
from memstack_models.report.conclusions import conclusions
from memstack_models.report.html import write_page
from memstack_models.report.parts import Parts
from memstack_models.report.plan import Plan
from memstack_models.report.records import LeftOut, Report
from memstack_models.training import run_folder
from memstack_models.training.one_file import digest

RESULTS = "results.json"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a report was asked for."""

    checkpoint: str
    target: float = 0.95
    seed: int = 0
    overrides: Sequence[str] = ()
    opponent: str | None = None
    """Another run, read on the same text: the fair one has the same context and cache, and no memory."""


def report(request: Request, folder: Path, plan: Plan, tell: Callable[[str], None] = lambda doing: None) -> Report:
    """Measure, write results.json, the pictures and the page into ``folder``; return the results.

    What failed is listed in their ``failures`` and on the page. A report that is cut short leaves what it has measured
    in the folder, and the same one goes on from there.
    """
    start, load = time.perf_counter(), machine_load()
    comparison = Comparison(run_folder.find(request.checkpoint), [*plan.overrides, *request.overrides], PROBE)
    opponent = _opponent(request.opponent, comparison, plan) if request.opponent else None
    for line in comparison.notices():
        say(f"note: {line}")
    tell(f"recording the keys of {request.checkpoint}")
    segment = comparison.run.train.segment
    fitting = plan.within(recordable(request.checkpoint, request.overrides) - segment)
    recorded = recording(request.checkpoint, fitting.recorded + segment, request.overrides)
    subject = Subject(
        comparison=comparison, recorded=recorded, target=request.target, seed=request.seed, opponent=opponent
    )
    parts = Parts(folder, _measured_with(request, fitting, comparison, opponent))
    measured = gather(fitting, subject, Attempts(tell, parts), load)
    beyond = [
        LeftOut(part="sizes", setting="every backend", entries=size, reason="the held-out text is too short")
        for size in plan.sizes
        if size not in fitting.sizes
    ]
    results = Report(
        **dict(measured.model_copy(update={"given_up": (*measured.given_up, *beyond)})),
        conclusions=tuple(conclusions(measured)),
        checkpoint=request.checkpoint,
        entries=fitting.entries,
        capacity=fitting.capacity,
        tokens=comparison.tokens,
        minutes=(time.perf_counter() - start) / 60,
    )
    # Before anything is drawn: what took minutes to measure should outlive a mistake in a picture.
    results.write(folder / RESULTS)
    write_page(results, folder)
    parts.done()
    return results


def redraw(path: Path) -> Path:
    """Draw pictures and page again from a results.json, beside it, and say anew what follows; returns the page's path.

    Raises RecordError for a file that holds no report.
    """
    results = Report.read(path)
    said = tuple(conclusions(results))
    if said != results.conclusions:
        results = results.model_copy(update={"conclusions": said})
        results.write(path)
    return write_page(results, path.parent)


def _opponent(name: str, comparison: Comparison, plan: Plan) -> tuple[str, Comparison]:
    """The other model, to be read on the same documents; refused unless it reads the same tokens."""
    other = Comparison(run_folder.find(name), plan.overrides, PROBE, text=comparison.run)
    if other.tokenizer.identity != comparison.tokenizer.identity:
        raise ConfigError(
            f"--opponent {name} has another tokeniser, so that its perplexity per token says nothing here: "
            "name a run that was trained with the same one"
        )
    return Path(name).name, other


def _measured_with(
    request: Request, plan: Plan, comparison: Comparison, opponent: tuple[str, Comparison] | None
) -> dict[str, Any]:
    """What decides the numbers: a report of anything else does not take them over."""
    models = [comparison, *([opponent[1]] if opponent else [])]
    return {
        "plan": asdict(plan),
        "seed": request.seed,
        "target": request.target,
        "models": [_identity(each) for each in models],
        "text": [len(document) for document in comparison.documents],
        "machine": describe_hardware(),
    }


def _identity(comparison: Comparison) -> str:
    """Of a model's weights and its run."""
    weights = {name: tensor.cpu() for name, tensor in comparison.model.state_dict().items()}
    return digest(weights, comparison.run.model_dump_json())
