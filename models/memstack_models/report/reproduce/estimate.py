"""How long cells take on this machine: by those that are made already, or by a few steps of a model like theirs."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from memstack_models.data.tokenizer import largest_size
from memstack_models.report.reproduce.making import (
    RUN,
    TRAINED,
    Reading,
    is_trained,
    missing,
    place,
    readings,
)
from memstack_models.report.reproduce.plan import Job, Plan
from memstack_models.report.reproduce.records import ReadingRecord, TrainedRecord
from memstack_models.training.config import RunConfig
from memstack_models.training.trainer import Trainer

STEPS, FILLED, ROWS, LARGEST = 2, 2048, 2, 5_000_000
"""Steps that are timed; entries of the memories, rows, and weights of the model meanwhile, at most."""
FORWARD = 1 / 3
"""Of the time of a step, without a memory."""
UNLIMITED = 65536
"""Tokens of a document, where a cell reads all of it."""


@dataclass(frozen=True)
class Speed:
    """What a machine makes of a model's weights and of a memory's entries."""

    dense: float
    """Seconds of training per token and weight."""
    fixed: float = 0.0
    """Seconds per token of what memories cost however many entries they have, by layer, head and number of a key."""
    search: float = 0.0
    """Likewise, and per entry."""

    def training(self, run: RunConfig) -> float:
        """Seconds of a run's training."""
        tokens = run.train.steps * run.train.rows * run.train.segment
        return tokens * (self.dense * weights(run) + self._memories(run, run.memory.capacity))

    def reading(self, run: RunConfig, entries: int) -> float:
        """Seconds of reading its text with a memory of so many entries."""
        length = run.eval.tokens or UNLIMITED
        filled = length / 2 if entries >= length else entries * (1 - entries / (2 * length))
        each = FORWARD * self.dense * weights(run) + self._memories(run, filled)
        return max(1, run.eval.documents) * length * each

    def _memories(self, run: RunConfig, entries: float) -> float:
        return numbers(run) * (self.fixed + self.search * entries) if entries else 0.0


class Estimate:
    """Seconds of every part of every cell of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._trained = _trained(plan.jobs)
        self._read = _read(plan.jobs)

    def parts(self, job: Job) -> dict[str, float]:
        """Return the seconds of what is left of a cell, by part: ``run``, and the labels of readings."""
        parts = {} if is_trained(job) else {RUN: self._training(job)}
        return parts | {each.label: self._reading(job, each) for each in missing(job)}

    def left(self) -> float:
        """Return the seconds of all that is left, one after the other."""
        return sum(sum(self.parts(job).values()) for job in unlike(self.plan.jobs))

    @property
    def from_made(self) -> bool:
        """Whether cells that are made say all of it, so that nothing had to be timed."""
        return "speed" not in self.__dict__

    @cached_property
    def speed(self) -> Speed:
        """Timed once, when it is first needed."""
        return measured([job.run for job in self.plan.jobs])

    def _training(self, job: Job) -> float:
        known = self._trained.get(_like(job))
        return known if known is not None else self.speed.training(job.run)

    def _reading(self, job: Job, reading: Reading) -> float:
        known = self._read.get((*_like(job), reading.label))
        return known if known is not None else self.speed.reading(reading.text(job.run), reading.entries)


def unlike(jobs: Iterable[Job]) -> list[Job]:
    """The jobs without those whose model is another's as well."""
    return list({job.folder: job for job in jobs}.values())


def measured(runs: list[RunConfig]) -> Speed:
    """Time steps of a model like the first of these and, with few entries and many, of the first with a memory."""
    plain = small(runs[0].model_copy(update={"model": runs[0].model.model_copy(update={"memory_layers": ()})}))
    seconds = _step(plain) / _tokens(plain)
    dense = seconds / weights(plain)
    remembering = next((small(run) for run in runs if run.model.memory_layers), None)
    if remembering is None:
        return Speed(dense)
    most = remembering.memory.capacity
    few = max(1, most // 8)
    less, more = (_more(remembering, entries, dense) for entries in (few, most))
    slope = max(0.0, more - less) / max(1, most - few)
    return Speed(dense, max(0.0, less - slope * few), slope)


def small(run: RunConfig) -> RunConfig:
    """Return the run with few rows, layers if it is a large one, and entries."""
    memory = run.memory.model_copy(update={"capacity": min(run.memory.capacity, FILLED)})
    train = run.train.model_copy(update={"rows": min(run.train.rows, ROWS), "accumulation": 1, "compile": False})
    model = run.model
    if weights(run) > LARGEST:
        layers = (1,) if model.memory_layers else ()
        model = model.model_copy(update={"layers": 2, "memory_layers": layers})
        train = train.model_copy(update={"rows": 1})
    return run.model_copy(update={"memory": memory, "train": train, "model": model})


def weights(run: RunConfig) -> int:
    """Return how many weights a token meets, the vocabulary's included."""
    model = run.model
    attention = 2 * model.dim * model.head_dim * (model.heads + model.kv_heads)
    return _vocabulary(run) * model.dim + model.layers * (attention + 2 * model.dim * model.ffn_dim)


def numbers(run: RunConfig) -> int:
    """Return how many numbers the queries of a token have, of all memory layers and heads."""
    return len(run.model.memory_layers) * run.model.heads * run.model.head_dim


def _more(run: RunConfig, entries: int, dense: float) -> float:
    """Seconds that memories of so many entries add to a token of training, by layer, head and number of a key."""
    filled = run.model_copy(update={"memory": run.memory.model_copy(update={"capacity": entries})})
    return max(0.0, _step(filled) / _tokens(filled) - dense * weights(filled)) / numbers(filled)


def _vocabulary(run: RunConfig) -> int:
    return largest_size(run.data.tokenizer, run.data.vocab_size)


def _tokens(run: RunConfig) -> int:
    return run.train.rows * run.train.segment


def _step(run: RunConfig) -> float:
    """Seconds of a step whose memories are full: of keys that the model made, as random ones are harder to search."""
    vocabulary = _vocabulary(run)
    random = torch.Generator().manual_seed(0)
    filling = 1 + (run.memory.capacity // run.train.segment if run.model.memory_layers else 0)
    length = (STEPS + filling) * run.train.segment + 1
    documents = [
        torch.randint(vocabulary, (length,), generator=random, dtype=torch.int64, device="cpu")
        for _ in range(run.train.rows)
    ]
    with TemporaryDirectory() as folder:
        trainer = Trainer(run, Path(folder), vocabulary, documents, [], torch.ones(1, dtype=torch.int64, device="cpu"))
        for _ in range(filling):
            trainer.advance()
        start = time.perf_counter()
        for _ in range(STEPS):
            trainer.advance()
        return (time.perf_counter() - start) / STEPS


def _like(job: Job) -> tuple[str, str]:
    """What takes as long, whatever its corpus and seed: a cell of these steps."""
    return job.cell.name, f"{job.run.model}{job.run.train.steps}"


def _trained(jobs: Iterable[Job]) -> Mapping[tuple[str, str], float]:
    return {_like(job): TrainedRecord.read(job.folder / TRAINED).seconds for job in jobs if is_trained(job)}


def _read(jobs: Iterable[Job]) -> Mapping[tuple[str, str, str], float]:
    there = [(job, each, place(job, each)) for job in jobs for each in readings(job) if place(job, each).is_file()]
    return {(*_like(job), each.label): ReadingRecord.read(path).seconds for job, each, path in there}
