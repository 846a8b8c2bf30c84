"""step_times(): what a whole training step costs with each backend, and without a memory."""

from collections.abc import Sequence
from functools import cached_property
from math import log
from pathlib import Path
from typing import Any

import torch

from memstack.measure import Point, Recording
from memstack.measure.measurement import add_entries
from memstack.measure.recorded import Recorded
from memstack.measure.sweep import label
from memstack.measure.timing import time_in_turns
from memstack.plugins.config import MemoryConfig, ProbeConfig
from memstack_models.evaluation.comparison import Comparison
from memstack_models.report.attempts import Attempts
from memstack_models.report.plan import Plan
from memstack_models.report.records import StepTime
from memstack_models.training.trainer import Trainer

ROWS, STEPS = 2, 5


class Steps:
    """Times training steps with a memory in turns with those of the same model without one."""

    def __init__(self, comparison: Comparison, recorded: Recording, limit_s: float, measurements: int) -> None:
        self.comparison, self.recorded, self.limit_s = comparison, recorded, limit_s
        self.measurements = measurements
        """How many there will be at most: the text of the model without a memory is so long."""

    @cached_property
    def _without(self) -> Trainer:
        trainer = _trainer(self.comparison, None, (STEPS + 1) * self.measurements)
        trainer.advance()
        return trainer

    def without(self) -> StepTime:
        """A step without a memory."""
        (timing,) = time_in_turns([self._without.advance], repeats=STEPS, device=self.comparison.device)
        return StepTime(options={}, entries=0, ms=timing.median_ms, repeats_ms=timing.repeats_ms)

    def with_memory(self, memory: MemoryConfig) -> StepTime:
        """A step whose memories are full of recorded keys; TooSlowError if one takes too long to fill."""
        trainer, limit_s = _trainer(self.comparison, memory, STEPS + 1), self.limit_s
        (stream,) = trainer.streams
        trainer.advance()  # at the texts' start, which resets the memories
        for seed, inside in enumerate(stream.bank.values()):
            keys = Recorded(inside.shape, self.recorded, seed)
            add_entries(inside, keys, inside.shape.capacity, self.recorded.segment, limit_s)
        turns = [trainer.advance, self._without.advance]
        timing, without = time_in_turns(turns, repeats=STEPS, device=self.comparison.device)
        return StepTime(
            backend=memory.backend,
            options=memory.options,
            entries=memory.capacity,
            ms=timing.median_ms,
            repeats_ms=timing.repeats_ms,
            without_repeats_ms=without.repeats_ms,
        )


def step_times(
    plan: Plan, comparison: Comparison, recorded: Recording, scaling: Sequence[Point], attempts: Attempts
) -> tuple[StepTime, ...]:
    """Median milliseconds of a training step by backend and size, and once without a memory (backend None).

    Every memory is full of recorded keys. Each backend has the options that ``scaling`` found good enough for the
    nearest size, its defaults if it found none. One that fails, or takes longer than the plan allows to fill the
    memories of a layer, is not tried at a larger size.
    """
    specs = plan.specs()
    steps = Steps(comparison, recorded, plan.limit_s, 1 + len(specs) * len(plan.step_sizes))
    without = attempts.measure("steps", "memory off", 0, StepTime, steps.without)
    found = [without] if without else []
    for spec in specs:
        for entries in plan.step_sizes:
            memory = MemoryConfig(
                backend=spec.name,
                capacity=entries,
                neighbours=comparison.run.memory.neighbours,
                options=_good_enough(spec.name, entries, scaling),
                probe=ProbeConfig(every=0),
            )
            setting = label(spec.name, memory.options)
            step = attempts.measure(
                "steps", setting, entries, StepTime, lambda memory=memory: steps.with_memory(memory)
            )
            if step is None:
                break
            found.append(step)
    return tuple(found)


def _trainer(comparison: Comparison, memory: MemoryConfig | None, steps: int) -> Trainer:
    """The checkpoint's model on random tokens, so many that no text ends: a step takes as long whatever is read."""
    run = comparison.run
    train = run.train.model_copy(update={"rows": ROWS, "accumulation": 1})
    run = run.model_copy(update={"train": train, "memory": memory or run.memory})
    vocabulary = comparison.tokenizer.vocab_size
    length = (steps + 3) * train.segment + 1
    texts = list(
        torch.randint(
            vocabulary, (ROWS, length), generator=torch.Generator().manual_seed(0), dtype=torch.int64, device="cpu"
        )
    )
    # The folder is where it would save; it is not asked to.
    token_bytes = comparison.tokenizer.token_bytes
    trainer = Trainer(run, Path(), vocabulary, texts, [], token_bytes, memory_off=memory is None)
    trainer.model.load_state_dict(comparison.model.state_dict())
    return trainer


def _good_enough(backend: str, entries: int, scaling: Sequence[Point]) -> dict[str, Any]:
    """The options that were measured last, and so reached the target if any did, at the size nearest to this one."""
    mine = [point for point in scaling if point.backend == backend]
    if not mine:
        return {}
    nearest = min(abs(log(point.entries / entries)) for point in mine)
    return next(point.options for point in reversed(mine) if abs(log(point.entries / entries)) == nearest)
