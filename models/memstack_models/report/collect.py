"""gather(): everything that ``memstack report`` measures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

import torch

from memstack import Memory, MemoryShape
from memstack.measure import BASELINES, Point, Recording, Workload, describe_hardware
from memstack.measure.hardware import Load, machine_load
from memstack.measure.sweep import label, settings
from memstack.plugins.config import MemoryConfig, ProbeConfig
from memstack.plugins.registry import registry
from memstack.plugins.specs import BackendSpec
from memstack_models.evaluation.comparison import Comparison
from memstack_models.report.attempts import Attempts
from memstack_models.report.plan import Plan
from memstack_models.report.records import Measured, Read
from memstack_models.report.step_times import step_times

Baseline = Callable[[MemoryShape], Memory]
Kind = Literal["none", "baseline", "backend", "opponent"]
PROBE = ProbeConfig(every=1)
"""Of the evaluations, whose times are not looked at."""
OFF = "memory off"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a report is about: a checkpoint with its text, what it stored and asked, and a model to beat."""

    comparison: Comparison
    recorded: Recording
    target: float
    """The recall that is good enough."""
    seed: int
    opponent: tuple[str, Comparison] | None = None
    """Another model on the same text, and what it is called."""


def gather(plan: Plan, subject: Subject, attempts: Attempts, load: Load | None = None) -> Measured:
    """Measure everything that is not kept already; ``load`` is what the machine was doing before it all began.

    What a backend fails at is in ``failures``, what took too long in ``given_up``, and what is not installed in
    ``absent``: nothing is left out without a line.
    """
    comparison, recorded = subject.comparison, subject.recorded
    run = comparison.run
    workload = Workload(
        recording=recorded,
        rows=1,
        heads=run.model.kv_heads,
        entries=plan.entries,
        neighbours=run.memory.neighbours,
        repeats=plan.repeats,
        seed=subject.seed,
        limit_s=plan.limit_s,
        device=str(comparison.device),
    )
    scaling = _scaling(plan, workload, subject.target, attempts)
    return Measured(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        seed=subject.seed,
        target=subject.target,
        quick=plan.stride > 1,
        neighbours=workload.neighbours,
        rows=workload.rows,
        heads=workload.heads,
        segment=recorded.segment,
        key_dim=recorded.key_dim,
        machine=describe_hardware(),
        threads=torch.get_num_threads(),
        exact=plan.specs()[0].name,
        settings=_settings(plan, workload, attempts),
        scaling=scaling,
        perplexity=_perplexity(plan, subject, attempts),
        steps=step_times(plan, comparison, recorded, scaling, attempts),
        load_before=load,
        load_after=machine_load(),
        taken_over=attempts.parts.taken_over or None if attempts.parts else None,
        failures=tuple(attempts.failures),
        given_up=tuple(attempts.given_up),
        absent={} if plan.backends else {spec.name: spec.pip_line for spec in registry().specs() if spec.missing()},
    )


def _settings(plan: Plan, workload: Workload, attempts: Attempts) -> tuple[Point, ...]:
    """Every setting of every backend at one size. What adds cost is not looked at here, so few are timed."""
    anchor, *_ = plan.specs()
    searched = replace(workload, turnover=0.0)
    beside = Beside(searched, anchor)
    found: list[Point] = []
    for spec in plan.specs():
        for options in settings(spec, plan.stride):
            point = _measured("settings", searched, spec, options, attempts, None if spec is anchor else beside)
            if point is None:
                break  # it would fail again, or take as long
            found.append(point)
    return tuple(found)


def _scaling(plan: Plan, workload: Workload, target: float, attempts: Attempts) -> tuple[Point, ...]:
    """The first setting of every backend that reaches the target, at every size, and those tried before it."""
    anchor, *_ = plan.specs()
    found: list[Point] = []
    for spec in plan.specs():
        left = settings(spec, plan.stride)
        for entries in plan.sizes:
            sized = replace(workload, entries=entries)
            beside = None if spec is anchor else Beside(sized, anchor)
            points = _until(sized, spec, left, target, attempts, beside)
            found += points
            reached = [point for point in points if point.recall >= target]
            # The more entries, the harder: what did not reach the target will not do so again.
            left = left[left.index(reached[-1].options) :] if reached else left[-1:]
            if not points:
                break
    return tuple(found)


class Beside:
    """A full exact memory, made when it is first needed: its searches are made in turns with those of the others."""

    def __init__(self, workload: Workload, anchor: BackendSpec) -> None:
        self.workload, self.anchor = workload, anchor

    @cached_property
    def memory(self) -> Memory:
        """The memory."""
        return self.workload.filled(self.anchor.name)


def _until(
    workload: Workload,
    spec: BackendSpec,
    tried: list[dict[str, Any]],
    target: float,
    attempts: Attempts,
    beside: Beside | None,
) -> list[Point]:
    points: list[Point] = []
    for options in tried:
        point = _measured("sizes", workload, spec, options, attempts, beside)
        points += [point] if point else []
        if point is None or point.recall >= target:
            break
    return points


def _measured(
    part: str,
    workload: Workload,
    spec: BackendSpec,
    options: Mapping[str, Any],
    attempts: Attempts,
    beside: Beside | None,
) -> Point | None:
    def measure() -> Point:
        turns = workload if beside is None else replace(workload, beside=beside.memory)
        return turns.measure(spec.name, options)

    return attempts.measure(part, label(spec.name, options), workload.entries, Point, measure)


def _perplexity(plan: Plan, subject: Subject, attempts: Attempts) -> tuple[Read, ...]:
    """Without a memory, with every setting of every backend, with the baselines, and by the other model."""
    found: list[Read] = []
    neighbours = subject.comparison.run.memory.neighbours
    own = MemoryConfig(backend=plan.specs()[0].name, capacity=plan.capacity, neighbours=neighbours)

    def add(kind: Kind, name: str, memory: MemoryConfig | None, baseline: Baseline | None = None) -> None:
        comparison = subject.opponent[1] if kind == "opponent" and subject.opponent else subject.comparison
        options = memory.options if kind == "backend" and memory else {}

        def read() -> Read:
            result = comparison.evaluate(memory, baseline=baseline)
            return Read(kind=kind, name=name, options=dict(options), **dict(result))

        result = attempts.measure("perplexity", label(name, options), plan.capacity, Read, read)
        found.extend([result] if result else [])

    add("none", OFF, None)
    if subject.opponent:
        name, other = subject.opponent
        add("opponent", name, other.run.memory if other.run.model.memory_layers else None)
    for name, baseline in BASELINES.items():
        add("baseline", name, own, baseline)
    for spec in plan.specs():
        for options in settings(spec, plan.stride):
            add("backend", spec.name, own.model_copy(update={"backend": spec.name, "options": options}))
    return tuple(found)
