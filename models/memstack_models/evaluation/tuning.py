"""tune(): which backend, with which options, is fastest on this machine at a recall that is good enough."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import tomli_w
from rich.table import Table
from rich.text import Text

from memstack.cli import console
from memstack.contract.errors import in_one_line
from memstack.measure import Point, Workload
from memstack.measure.measurement import TooSlowError
from memstack.measure.sweep import installed, label, settings
from memstack.plugins.registry import registry
from memstack.plugins.specs import BackendSpec
from memstack_models.evaluation.records import Trial, TuneRecord

WORTH_IT = 0.95  # of the exact search's cost: what is nearer to it is within what a machine's times vary by


@dataclass(frozen=True)
class Choice:
    """What was tried, exact search first, and which of it is the best."""

    trials: tuple[Trial, ...]
    exact: Point
    best: Point
    target: float

    def reasons(self) -> str:
        """Why, in one or two sentences."""
        size = f"{self.best.rows} x {self.best.heads} memories of {self.best.entries:,} entries"
        near = [point for point in _reaching(self.trials, self.target) if point.backend != self.exact.backend]
        if self.best is not self.exact:
            search, add = _times(self.best.search_ms, self.exact.step_ms), _times(self.best.add_ms, self.exact.step_ms)
            return (
                f"{label(self.best.backend, self.best.options)} finds {self.best.recall:.1%} of the neighbours in "
                f"{size} and costs {_times(self.best.step_ms, self.exact.step_ms)} of {self.exact.backend} search: "
                f"{search} to search and {add} to add."
            )
        if not near:
            return f"{self.exact.backend} search it is: nothing else reached a recall of {self.target} in {size}."
        second = min(near, key=lambda point: point.step_ms)
        return (
            f"{self.exact.backend} search it is: nothing is clearly faster at a recall of {self.target} in {size}. "
            f"The nearest, {label(second.backend, second.options)}, "
            f"costs {_times(second.step_ms, self.exact.step_ms)} of it at a recall of {second.recall:.3f}."
        )

    def toml(self, neighbours: int) -> str:
        """The ``[memory]`` section of the best."""
        memory: dict[str, Any] = {"backend": self.best.backend, "capacity": self.best.entries, "neighbours": neighbours}
        return tomli_w.dumps({"memory": memory | ({"options": dict(self.best.options)} if self.best.options else {})})

    def record(self, checkpoint: str) -> TuneRecord:
        """Return the choice for this checkpoint as it is written down."""
        return TuneRecord(
            checkpoint=checkpoint, target=self.target, best=self.best, reasons=self.reasons(), trials=self.trials
        )


def tune(
    workload: Workload,
    target: float,
    watch: Callable[[str], None] = lambda setting: None,
    specs: Sequence[BackendSpec] | None = None,
) -> Choice:
    """Try each backend's settings, from the least accurate on, until one finds ``target`` of the neighbours.

    The cost is a search of one segment's queries and an add of one segment to a full memory, in the long run: what an
    index costs to train or rebuild is spread over the adds between. A backend whose adds alone cost more than exact
    search does is given up on. ``watch`` is told each setting before it is tried; ``specs`` are what ``chosen``
    returns, by default of all that is installed.
    """
    anchor, *others = specs or installed()
    watch(anchor.name)
    exact = workload.measure(anchor.name, {})
    # Filling trains more often than turning over, by up to twice.
    adds = -(-workload.entries // workload.recording.segment)
    limited = replace(workload, limit_s=min(workload.limit_s, max(1.0, 2 * adds * exact.step_ms / 1e3)))
    trials = [Trial(backend=anchor.name, options={}, point=exact)]
    for spec in others:
        trials += _tried(limited, spec.name, settings(spec), target, exact, watch)
    best = min(_reaching(trials, target), key=lambda point: point.step_ms)
    if best.step_ms > WORTH_IT * exact.step_ms:
        best = exact
    return Choice(tuple(trials), exact, best, target)


def chosen(names: Sequence[str]) -> list[BackendSpec]:
    """Return the backends to try, by their names or all that are installed; exact search, their measure, is the first.

    Raises what ``registry().backend_class`` does for one that is not there.
    """
    anchor, *others = installed()
    for name in names:
        registry().backend_class(name)
    return [anchor, *(spec for spec in others if not names or spec.name in names)]


def expected_trials(specs: Sequence[BackendSpec] | None = None) -> int:
    """How many settings ``tune`` tries at most."""
    return sum(len(settings(spec)) for spec in (specs or installed())[1:]) + 1


def tried_table(choice: Choice) -> Table:
    """One line per setting that was tried."""
    lines = console.table("setting", right=["recall", "search ms", "add ms", "x exact"])
    for trial in choice.trials:
        name, point = Text(label(trial.backend, trial.options)), trial.point
        if point is None:
            lines.add_row(name, "failed" if trial.failed else "given up", style="red" if trial.failed else "dim")
            continue
        times = f"{point.search_ms:.4g}", f"{point.add_ms:.3g}", _times(point.step_ms, choice.exact.step_ms)
        lines.add_row(name, f"{point.recall:.3f}", *times, style="bold green" if point is choice.best else "")
    return lines


def _tried(
    workload: Workload,
    backend: str,
    tried: Sequence[dict[str, Any]],
    target: float,
    exact: Point,
    watch: Callable[[str], None],
) -> Iterator[Trial]:
    """Settings of one backend, until the target is met, or it is clear that no later one can win."""
    for options in tried:
        watch(label(backend, options))
        try:
            point = workload.measure(backend, options)
        except TooSlowError as error:
            yield Trial(backend=backend, options=options, note=f"given up: {error}")
            return
        except Exception as error:  # noqa: BLE001 - a stranger's memory may fail in any way; the others still count
            yield Trial(backend=backend, options=options, note=in_one_line(error), failed=True)
            return
        slower = point.recall < target and _clearly_slower(workload, point, exact)
        yield Trial(backend=backend, options=options, point=point, note="already too slow" if slower else "")
        if slower or point.recall >= target:
            return


def _clearly_slower(workload: Workload, point: Point, exact: Point) -> bool:
    """Whether it costs twice what exact search does, also what that costs now: the machine may have become busier."""
    if point.step_ms <= 2 * exact.step_ms:
        return False
    return point.step_ms > 2 * replace(workload, limit_s=inf).measure(exact.backend, exact.options).step_ms


def _reaching(trials: Sequence[Trial], target: float) -> list[Point]:
    return [trial.point for trial in trials if trial.point is not None and trial.point.recall >= target]


def _times(milliseconds: float, unit: float) -> str:
    return f"{milliseconds / unit:.2f}x"
