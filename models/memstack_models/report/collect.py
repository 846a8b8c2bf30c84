"""gather(): everything that ``memstack report`` measures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from memstack import CorpusError, Memory, MemoryShape
from memstack.contract.errors import in_one_line
from memstack.measure import BASELINES, Point, Recording, Workload, describe_hardware
from memstack.measure.measurement import TooSlowError
from memstack.measure.sweep import installed, label, settings
from memstack.plugins.config import MemoryConfig, ProbeConfig
from memstack.plugins.registry import registry
from memstack.plugins.specs import BackendSpec
from memstack_models.evaluation.comparison import Comparison
from memstack_models.report.records import LeftOut, Measured, Read
from memstack_models.report.step_times import step_times

T = TypeVar("T")
Baseline = Callable[[MemoryShape], Memory]
Kind = Literal["none", "baseline", "backend"]
PROBE = ProbeConfig(every=1)
"""Of the evaluations, whose times are not looked at."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured."""

    entries: int
    """Of the memories of which every setting is measured."""
    sizes: tuple[int, ...]
    """Entries at which search and add are timed, rising."""
    step_sizes: tuple[int, ...]
    """Entries at which whole training steps are timed, rising."""
    documents: int
    """Read for the perplexity, so many tokens of each."""
    tokens: int
    capacity: int
    """Entries per memory then."""
    stride: int = 1
    """Every how many settings of a search space are tried."""
    repeats: int = 5
    limit_s: float = 60.0
    """How long a memory may take to fill, and to turn over, before it is given up on."""

    @property
    def recorded(self) -> int:
        """The most entries that a memory holds."""
        return max(self.entries, *self.sizes, *self.step_sizes)

    def within(self, entries: int) -> "Plan":
        """The plan without the sizes for which there is too little text: no memory holds more entries than this."""
        sizes, steps = (tuple(size for size in each if size <= entries) for each in (self.sizes, self.step_sizes))
        least = self.sizes[0]
        if not (sizes and steps):
            raise CorpusError(f"the text is too short to fill a memory of {least:,} entries: evaluate on more")
        return replace(self, entries=min(self.entries, sizes[-1]), sizes=sizes, step_sizes=steps)

    @property
    def overrides(self) -> list[str]:
        """What the evaluation reads, as settings of a run."""
        return [f"eval.documents={self.documents}", f"eval.tokens={self.tokens}", f"eval.rows={self.documents}"]


QUICK = Plan(
    entries=4096,
    sizes=(1024, 4096, 16384),
    step_sizes=(1024, 4096),
    documents=1,
    tokens=3072,
    capacity=4096,
    stride=3,
    repeats=3,
    limit_s=8.0,
)
FULL = Plan(
    entries=65536,
    sizes=(1024, 4096, 16384, 65536, 262144),
    step_sizes=(1024, 4096, 16384, 65536),
    documents=2,
    tokens=8192,
    capacity=8192,
)


@dataclass
class Attempts:
    """Runs one measurement after the other and tells of each; none that fails takes another one down."""

    tell: Callable[[str], None]
    failures: list[LeftOut] = field(default_factory=list[LeftOut])
    given_up: list[LeftOut] = field(default_factory=list[LeftOut])

    def attempt(self, part: str, setting: str, entries: int, call: Callable[[], T]) -> T | None:
        """Return what the call returns, or None and a note why it did not."""
        self.tell(f"{part}: {setting}, {entries:,} entries")
        kept, reason = self.failures, ""
        try:
            return call()
        except TooSlowError as error:
            kept, reason = self.given_up, str(error)
        except Exception as error:  # noqa: BLE001 - a stranger's memory may fail in any way, and the others still count
            reason = in_one_line(error)
        kept.append(LeftOut(part=part, setting=setting, entries=entries, reason=reason))
        return None


def gather(
    plan: Plan, comparison: Comparison, recorded: Recording, target: float, seed: int, tell: Callable[[str], None]
) -> Measured:
    """Measure everything; ``tell`` is told what comes next, ``expected`` says about how often.

    What a backend fails at is in ``failures``, what took too long in ``given_up``, and what is not installed in
    ``absent``: nothing is left out without a line.
    """
    attempts = Attempts(tell)
    run = comparison.run
    workload = Workload(
        recording=recorded,
        rows=1,
        heads=run.model.kv_heads,
        entries=plan.entries,
        neighbours=run.memory.neighbours,
        repeats=plan.repeats,
        seed=seed,
        limit_s=plan.limit_s,
        device=str(comparison.device),
    )
    scaling = _scaling(plan, workload, target, attempts)
    return Measured(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        seed=seed,
        target=target,
        quick=plan.stride > 1,
        neighbours=workload.neighbours,
        rows=workload.rows,
        heads=workload.heads,
        segment=recorded.segment,
        key_dim=recorded.key_dim,
        machine=describe_hardware(),
        exact=installed()[0].name,
        settings=_settings(plan, workload, attempts),
        scaling=scaling,
        perplexity=_perplexity(plan, comparison, attempts),
        steps=step_times(plan.step_sizes, comparison, recorded, scaling, attempts.attempt, plan.limit_s),
        failures=tuple(attempts.failures),
        given_up=tuple(attempts.given_up),
        absent={spec.name: spec.pip_line for spec in registry().specs() if spec.missing()},
    )


def expected(plan: Plan) -> int:
    """How many measurements there will be, about: at most sizes it takes one or two to find what reaches the target."""
    specs = installed()
    tried = sum(len(settings(spec, plan.stride)) for spec in specs)
    others = len(specs) * (len(plan.sizes) + len(plan.step_sizes)) + sum(not spec.exact for spec in specs)
    return 2 * tried + others + len(BASELINES) + 2


def _settings(plan: Plan, workload: Workload, attempts: Attempts) -> tuple[Point, ...]:
    """Every setting of every backend at one size. What adds cost is not looked at here, so few are timed."""
    searched = replace(workload, turnover=0.0)
    found: list[Point] = []
    for spec in installed():
        for options in settings(spec, plan.stride):
            point = _measured("settings", searched, spec, options, attempts)
            if point is None:
                break  # it would fail again, or take as long
            found.append(point)
    return tuple(found)


def _scaling(plan: Plan, workload: Workload, target: float, attempts: Attempts) -> tuple[Point, ...]:
    """The first setting of every backend that reaches the target, at every size, and those tried before it."""
    found: list[Point] = []
    for spec in installed():
        left = settings(spec, plan.stride)
        for entries in plan.sizes:
            points = _until(replace(workload, entries=entries), spec, left, target, attempts)
            found += points
            reached = [point for point in points if point.recall >= target]
            # The more entries, the harder: what did not reach the target will not do so again.
            left = left[left.index(reached[-1].options) :] if reached else left[-1:]
            if not points:
                break
    return tuple(found)


def _until(
    workload: Workload, spec: BackendSpec, tried: list[dict[str, Any]], target: float, attempts: Attempts
) -> list[Point]:
    points: list[Point] = []
    for options in tried:
        point = _measured("sizes", workload, spec, options, attempts)
        points += [point] if point else []
        if point is None or point.recall >= target:
            break
    return points


def _measured(
    part: str, workload: Workload, spec: BackendSpec, options: Mapping[str, Any], attempts: Attempts
) -> Point | None:
    setting = label(spec.name, options)
    return attempts.attempt(part, setting, workload.entries, lambda: workload.measure(spec.name, options))


def _perplexity(plan: Plan, comparison: Comparison, attempts: Attempts) -> tuple[Read, ...]:
    """Without a memory, with every setting of every backend, and with the baselines."""
    found: list[Read] = []

    def add(kind: Kind, name: str, options: Mapping[str, Any], baseline: Baseline | None) -> None:
        backend = name if kind == "backend" else installed()[0].name
        memory = MemoryConfig(
            backend=backend,
            capacity=plan.capacity,
            neighbours=comparison.run.memory.neighbours,
            options=dict(options),
        )
        result = attempts.attempt(
            "perplexity",
            label(name, options),
            plan.capacity,
            lambda: comparison.evaluate(None if kind == "none" else memory, baseline=baseline),
        )
        if result is not None:
            found.append(Read(kind=kind, name=name, options=dict(options), **dict(result)))

    add("none", "memory off", {}, None)
    for name, baseline in BASELINES.items():
        add("baseline", name, {}, baseline)
    for spec in installed():
        for options in settings(spec, plan.stride):
            add("backend", spec.name, options, None)
    return tuple(found)
