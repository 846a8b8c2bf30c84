"""make(): a cell trained, in a run folder that resumes, and read with each of its memories; what is there is kept."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from memstack import MemstackError
from memstack.measure import BASELINES
from memstack.measure.hardware import device_name
from memstack.plugins.config import MemoryConfig, ProbeConfig, plain
from memstack.plugins.registry import registry
from memstack_models.data.load import tokenizer_for
from memstack_models.data.tokenizer import load_tokenizer
from memstack_models.evaluation.comparison import PROBE, Comparison, memory_of
from memstack_models.report.reproduce.plan import Job, digest_of_tree
from memstack_models.report.reproduce.records import CurvePoint, ReadingRecord, TrainedRecord
from memstack_models.training import checkpoint, run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.creating import new_trainer
from memstack_models.training.records import LogEntry
from memstack_models.training.starting import take_over
from memstack_models.training.trainer import Trainer

RUN, TRAINED = "run", "trained.json"
UNWATCHED = ProbeConfig(every=0)
NONE, VALIDATION, BASELINE = "none", "validation", "baseline:"
Advance = Callable[[str, float], None]
"""Told of which part of a cell, its training or a reading's label, how much more is done, from 0 to 1 in all."""


@dataclass(frozen=True)
class Reading:
    """A cell's text read with one memory."""

    label: str
    """Entries in the paper's sizes, ``none``, a search, or ``validation``."""
    entries: int
    """0 is the memory off."""
    search: str = ""
    """A backend with options; a cell's own if empty. Or ``baseline:NAME``."""

    @property
    def baseline(self) -> str:
        """The baseline's name, if it is one."""
        return self.search.removeprefix(BASELINE) if self.search.startswith(BASELINE) else ""

    def memory(self, run: RunConfig) -> MemoryConfig | None:
        """The memory, of a run's section but for size and search."""
        if not self.entries:
            return None
        if self.search and not self.baseline:
            return memory_of(self.search, self.entries, run.memory.neighbours)
        return run.memory.model_copy(update={"capacity": self.entries})

    def text(self, run: RunConfig) -> RunConfig:
        """The run with what is read: of a validation what training validates on."""
        if self.label != VALIDATION:
            return run
        limits = {"split": "validation", "tokens": run.train.validate_tokens}
        return run.model_copy(update={"eval": run.eval.model_copy(update=limits)})


def readings(job: Job) -> list[Reading]:
    """Return what a cell is read with, the smallest memory first."""
    own = job.run.memory.capacity if job.cell.memory else 0
    found = [Reading(str(size) if size else NONE, job.entries[size]) for size in job.cell.sizes]
    found += [Reading(search.removeprefix(BASELINE), own, search) for search in job.cell.searches]
    return found + ([Reading(VALIDATION, own)] if job.cell.validated else [])


def place(job: Job, reading: Reading) -> Path:
    """Return the file of a reading: another memory, or another text, is another file."""
    memory = reading.memory(job.run)
    tree = {
        "memory": plain(memory) if memory else None,
        "baseline": reading.baseline,
        "eval": plain(reading.text(job.run).eval),
    }
    return job.folder / f"read-{digest_of_tree(tree)}.json"


def unavailable(reading: Reading) -> str:
    """Return why a search cannot be had here; empty for one that can."""
    if not reading.search or reading.baseline:
        return ""
    try:
        registry().backend_class(reading.search.partition(",")[0])
    except MemstackError as error:
        return str(error)
    return ""


def missing(job: Job) -> list[Reading]:
    """Return the readings that are not there and can be made."""
    return [each for each in readings(job) if not unavailable(each) and not place(job, each).is_file()]


def is_trained(job: Job) -> bool:
    """True if the cell's model is there."""
    return (job.folder / TRAINED).is_file()


def is_made(job: Job) -> bool:
    """True if nothing of a cell is left to do."""
    return is_trained(job) and not missing(job)


def make(
    job: Job, advance: Advance = lambda part, share: None, tell: Callable[[str], None] = lambda line: None
) -> None:
    """Train a cell, unless it is, and make the readings that are not there yet."""
    if not is_trained(job):
        train(job, advance, tell)
    if left := missing(job):
        Reader(job).read(left, advance)


def train(job: Job, advance: Advance, tell: Callable[[str], None]) -> None:
    """Train to the end, from where the cell's run was left, and keep the weights alone."""
    folder = job.folder / RUN
    with run_folder.held(folder):
        trainer = _resumed(job, folder, tell) if run_folder.is_begun(folder) else _begun(job, folder, tell)
        steps = job.run.train.steps
        advance(RUN, trainer.step / steps)
        trainer.train(held=True, tick=lambda step: advance(RUN, 1 / steps), tell=tell)
        _trained(job, trainer).write(job.folder / TRAINED)
        tensors, progress = checkpoint.load(folder, "model.")
        checkpoint.save(folder, tensors, progress)  # of memories and optimiser, much the larger part, nothing is needed


def _begun(job: Job, folder: Path, tell: Callable[[str], None]) -> Trainer:
    source = job.source.folder / RUN if job.source else None
    tokenizer = load_tokenizer(source) if source else tokenizer_for(job.run.data)
    trainer = new_trainer(job.run, folder, tokenizer, tell)
    if source:
        take_over(trainer.model, run_folder.load_weights(source), source)
    run_folder.create(folder, job.run, tokenizer, trainer.save if source else None)
    return trainer


def _resumed(job: Job, folder: Path, tell: Callable[[str], None]) -> Trainer:
    run_folder.refuse_other(folder, job.run)
    trainer = new_trainer(job.run, folder, load_tokenizer(folder), tell)
    trainer.resume()
    return trainer


def _trained(job: Job, trainer: Trainer) -> TrainedRecord:
    log = run_folder.read_log(trainer.folder)
    before = TrainedRecord.read(job.source.folder / TRAINED).tokens if job.source else 0
    train = job.run.train
    return TrainedRecord(
        name=job.name,
        parameters=sum(each.numel() for each in trainer.model.parameters()),
        tokens=before + train.steps * train.rows * train.segment,
        steps=train.steps,
        seconds=seconds_of(log, train.rows * train.segment),
        device=device_name(trainer.device),
        curve=tuple(
            CurvePoint(
                step=entry.step,
                without=entry.without.perplexity,
                with_memory=entry.with_memory.perplexity if entry.with_memory else None,
            )
            for entry in log
            if entry.kind == "validation"
        ),
    )


def seconds_of(log: list[LogEntry], tokens: int) -> float:
    """Return how long the steps of a log took, each of so many tokens, by the speed of those that were logged."""
    total, before = 0.0, 0
    for entry in log:
        if entry.kind == "step":
            total += (entry.step - before) * tokens / max(1, entry.tokens_per_s)
            before = entry.step
    return total


class Reader:
    """A trained cell that reads; the texts are those that its configuration names."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._comparisons: dict[str, Comparison] = {}

    def read(self, left: list[Reading], advance: Advance) -> None:
        """Make readings, and keep each as soon as it is there."""
        for reading in left:
            before = max((each.entries for each in readings(self.job) if each.entries < reading.entries), default=0)
            made = self._left_out(reading, before) or self._read(reading, advance)
            made.write(place(self.job, reading))

    def _left_out(self, reading: Reading, before: int) -> ReadingRecord | None:
        """A memory that holds no more than a smaller one does, for the text has no more."""
        longest = max(map(len, self._comparison(reading).documents))
        if reading.search or reading.entries <= self.job.run.memory.capacity or before < longest:
            return None
        reason = f"no document is longer than {longest:,} tokens, all of which {before:,} entries hold"
        return ReadingRecord(label=reading.label, entries=reading.entries, left_out=reason)

    def _read(self, reading: Reading, advance: Advance) -> ReadingRecord:
        comparison = self._comparison(reading)
        total, start = comparison.tokens, time.perf_counter()
        baseline = BASELINES[reading.baseline] if reading.baseline else None
        compared = comparison.evaluate(
            reading.memory(self.job.run), lambda tokens: advance(reading.label, tokens / total), baseline
        )
        return ReadingRecord(
            label=reading.label,
            entries=reading.entries,
            compared=compared,
            seconds=time.perf_counter() - start,
        )

    def _comparison(self, reading: Reading) -> Comparison:
        """The model and the text of a reading; probed where the search may miss something."""
        name = VALIDATION if reading.label == VALIDATION else ""
        if name not in self._comparisons:
            folder, text = self.job.folder / RUN, reading.text(self.job.run)
            probe = PROBE if self.job.cell.searches else UNWATCHED
            self._comparisons[name] = Comparison(folder, probe=probe, text=text)
        return self._comparisons[name]
