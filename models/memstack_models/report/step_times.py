"""step_times(): what a whole training step costs with each backend, and without a memory."""

from collections.abc import Callable, Sequence
from math import inf, log
from pathlib import Path
from typing import Any

import torch

from memstack.measure import Point, Recording
from memstack.measure.measurement import add_entries
from memstack.measure.recorded import Recorded
from memstack.measure.sweep import installed, label
from memstack.measure.timing import Timing, time_call
from memstack.plugins.config import MemoryConfig, ProbeConfig
from memstack_models.evaluation.comparison import Comparison
from memstack_models.report.records import StepTime
from memstack_models.training.trainer import Trainer

Attempt = Callable[[str, str, int, Callable[[], Timing]], Timing | None]
ROWS, STEPS = 2, 5


def step_times(
    sizes: Sequence[int],
    comparison: Comparison,
    recorded: Recording,
    scaling: Sequence[Point],
    attempt: Attempt,
    limit_s: float = inf,
) -> tuple[StepTime, ...]:
    """Median milliseconds of a training step by backend and size, and once without a memory (backend None).

    Every memory is full of recorded keys. Each backend has the options that ``scaling`` found good enough for the
    nearest size, its defaults if it found none. One that fails, or takes more than ``limit_s`` to fill the memories of
    a layer, is not tried at a larger size.
    """
    found: list[StepTime] = []
    without = attempt("steps", "memory off", 0, lambda: _timed(comparison, recorded, None, limit_s))
    if without is not None:
        found.append(StepTime(options={}, entries=0, ms=without.median_ms))
    for spec in installed():
        for entries in sizes:
            options = _good_enough(spec.name, entries, scaling)
            memory = MemoryConfig(
                backend=spec.name,
                capacity=entries,
                neighbours=comparison.run.memory.neighbours,
                options=options,
                probe=ProbeConfig(every=0),
            )
            timing = attempt(
                "steps",
                label(spec.name, options),
                entries,
                lambda memory=memory: _timed(comparison, recorded, memory, limit_s),
            )
            if timing is None:
                break
            found.append(StepTime(backend=spec.name, options=options, entries=entries, ms=timing.median_ms))
    return tuple(found)


def _timed(comparison: Comparison, recorded: Recording, memory: MemoryConfig | None, limit_s: float) -> Timing:
    """Steps of the checkpoint's model over texts that go on beyond them, every memory full. The text is random tokens:
    a step takes as long whatever is read."""
    trainer = _trainer(comparison, memory)
    (stream,) = trainer.streams
    trainer.advance()  # at the texts' start, which resets the memories
    for seed, inside in enumerate(stream.bank.values()):
        add_entries(inside, Recorded(inside.shape, recorded, seed), inside.shape.capacity, recorded.segment, limit_s)
    return time_call(trainer.advance, repeats=STEPS, device=comparison.device)


def _trainer(comparison: Comparison, memory: MemoryConfig | None) -> Trainer:
    run = comparison.run
    train = run.train.model_copy(update={"rows": ROWS, "accumulation": 1})
    run = run.model_copy(update={"train": train, "memory": memory or run.memory})
    vocabulary = comparison.tokenizer.vocab_size
    length = (STEPS + 3) * train.segment + 1  # none ends while it is timed
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
