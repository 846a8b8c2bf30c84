"""How long cells take on this machine: by those that are made already, or by a few steps of a model like theirs."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from memstack_models.data.tokenizer import ByteTokenizer
from memstack_models.reproduce.making import (
    RUN,
    TRAINED,
    Reading,
    is_trained,
    missing,
    place,
    readings,
)
from memstack_models.reproduce.plan import Job, Plan
from memstack_models.reproduce.records import ReadingRecord, TrainedRecord
from memstack_models.training.config import RunConfig
from memstack_models.training.trainer import Trainer

STEPS, FILLED, LARGEST = 2, 8192, 5_000_000
"""Steps that are timed; entries of the memories meanwhile, at most; weights of the model, at most."""
FORWARD = 1 / 3
"""Of the time of a step, without a memory."""
UNLIMITED = 65536
"""Tokens of a document, where a cell reads all of it."""


@dataclass(frozen=True)
class Speed:
    """What a machine makes of a model's weights and of a memory's entries."""

    dense: float
    """Seconds of training per token and weight."""
    search: float
    """Seconds per token, and entry, of all memories together, by head and number of a key."""

    def training(self, run: RunConfig) -> float:
        """Seconds of a run's training."""
        tokens = run.train.steps * run.train.rows * run.train.segment
        return tokens * (self.dense * weights(run) + self.search * searched(run, run.memory.capacity))

    def reading(self, run: RunConfig, entries: int) -> float:
        """Seconds of reading its text with a memory of so many entries."""
        tokens = max(1, run.eval.documents) * (run.eval.tokens or UNLIMITED)
        filled = min(entries, (run.eval.tokens or UNLIMITED) // 2)
        return tokens * (FORWARD * self.dense * weights(run) + self.search * searched(run, filled))


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
    """Time steps of a model like the first of these, and of the first with a memory, each cut down to what is quick."""
    plain = small(runs[0].model_copy(update={"model": runs[0].model.model_copy(update={"memory_layers": ()})}))
    seconds = _step(plain) / _tokens(plain)
    dense = seconds / weights(plain)
    remembering = next((small(run) for run in runs if run.model.memory_layers), None)
    if remembering is None:
        return Speed(dense, 0.0)
    more = _step(remembering) / _tokens(remembering) - dense * weights(remembering)
    return Speed(dense, max(0.0, more) / searched(remembering, remembering.memory.capacity))


def small(run: RunConfig) -> RunConfig:
    """Return the run with few rows and layers, and a memory that is filled at once, if it is a large one."""
    memory = run.memory.model_copy(update={"capacity": min(run.memory.capacity, FILLED)})
    train = run.train.model_copy(update={"rows": min(run.train.rows, 8), "accumulation": 1, "compile": False})
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
    vocabulary = run.data.vocab_size if run.data.tokenizer == "bpe" else ByteTokenizer().vocab_size
    return vocabulary * model.dim + model.layers * (attention + 2 * model.dim * model.ffn_dim)


def searched(run: RunConfig, entries: int) -> int:
    """Return how many numbers of keys a token's queries meet; 0 without a memory."""
    model = run.model
    # Found entries are gathered, whatever the size: about as dear as so many that are looked at.
    gathered = 16 * (model.candidates or run.memory.neighbours)
    return len(model.memory_layers) * model.heads * model.head_dim * (entries + gathered) if entries else 0


def _tokens(run: RunConfig) -> int:
    return run.train.rows * run.train.segment


def _step(run: RunConfig) -> float:
    """Seconds of a step whose memories are full, the first one not counted."""
    vocabulary = run.data.vocab_size if run.data.tokenizer == "bpe" else ByteTokenizer().vocab_size
    random = torch.Generator().manual_seed(0)
    length = (STEPS + 2) * run.train.segment + 1
    documents = [
        torch.randint(vocabulary, (length,), generator=random, dtype=torch.int64, device="cpu")
        for _ in range(run.train.rows)
    ]
    with TemporaryDirectory() as folder:
        trainer = Trainer(run, Path(folder), vocabulary, documents, [], torch.ones(1, dtype=torch.int64, device="cpu"))
        trainer.advance()
        _fill(trainer, random)
        start = time.perf_counter()
        for _ in range(STEPS):
            trainer.advance()
        return (time.perf_counter() - start) / STEPS


def _fill(trainer: Trainer, random: torch.Generator) -> None:
    for stream in trainer.streams:
        for memory in stream.bank.values():
            shape = memory.shape
            sizes = (shape.rows, shape.heads, shape.capacity, shape.key_dim)
            keys = torch.randn(sizes, generator=random, dtype=torch.float32, device="cpu")
            keys = torch.nn.functional.normalize(keys, dim=-1).to(memory.device)
            memory.add(keys, keys)


def _like(job: Job) -> tuple[str, str]:
    """What takes as long, whatever its corpus and seed: a cell of these steps."""
    return job.cell.name, f"{job.run.model}{job.run.train.steps}"


def _trained(jobs: Iterable[Job]) -> Mapping[tuple[str, str], float]:
    return {_like(job): TrainedRecord.read(job.folder / TRAINED).seconds for job in jobs if is_trained(job)}


def _read(jobs: Iterable[Job]) -> Mapping[tuple[str, str, str], float]:
    there = [(job, each, place(job, each)) for job in jobs for each in readings(job) if place(job, each).is_file()]
    return {(*_like(job), each.label): ReadingRecord.read(path).seconds for job, each, path in there}
