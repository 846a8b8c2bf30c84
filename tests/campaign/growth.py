"""A day's worth of steps and of memory verbs in one process: memory, open files and threads do not grow."""

import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from helpers.small_corpus import write_corpus
from memstack_models.cli.work import create_trainer
from memstack_models.data.load import tokenizer_for
from memstack_models.training import run_folder
from memstack_models.training.trainer import Trainer

from campaign.jobs import Check, Job
from campaign.keys import LOADED
from memstack import MemoryShape, create_memory

DAY = 24 * 3600
SAMPLES = 60
PAGE = os.sysconf("SC_PAGE_SIZE")
TINY = (
    "model.dim=16",
    "model.ffn_dim=32",
    "train.segment=16",
    "train.rows=1",
    "memory.capacity=64",
    "memory.neighbours=4",
    "data.tokenizer=bytes",
    "train.device=cpu",
    "train.log_every=100",
    "train.checkpoint_every=5000",
    "train.validate_every=5000",
)


@dataclass(frozen=True)
class Held:
    """What a process holds at a moment."""

    step: int
    resident: int
    """Bytes."""
    files: int
    threads: int

    @classmethod
    def now(cls, step: int) -> "Held":
        """Look, once what is nobody's is gone."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return cls(step, pages * PAGE, *(len(os.listdir(f"/proc/self/{each}")) for each in ("fd", "task")))


@dataclass(frozen=True)
class Slope:
    """Bytes a step: a straight line through what was held, and its standard error."""

    bytes_a_step: float
    error: float

    def __str__(self) -> str:
        return f"{self.bytes_a_step:+.2f} ± {self.error:.2f} bytes a step"


def slope(held: Sequence[Held]) -> Slope:
    """Fit a line to the second half: what is only made once is made by then."""
    late = held[len(held) // 2 :]
    steps, sizes = [float(each.step) for each in late], [float(each.resident) for each in late]
    line = statistics.linear_regression(steps, sizes)
    rest = [size - line.slope * step - line.intercept for step, size in zip(steps, sizes, strict=True)]
    spread = sum((step - statistics.fmean(steps)) ** 2 for step in steps)
    return Slope(line.slope, math.sqrt(sum(each * each for each in rest) / max(1, len(late) - 2) / spread))


def growth(held: Sequence[Held], steps: int) -> list[str]:
    """Return what grows: memory by a megabyte or more over so many steps, beyond the noise; files; threads."""
    found: list[str] = []
    line = slope(held)
    if (line.bytes_a_step - 3 * line.error) * steps > 1 << 20:
        found.append(f"memory grows: {line}, {line.bytes_a_step * steps / 1e6:.1f} MB in {steps:,} steps")
    middle, last = held[len(held) // 2], held[-1]
    if last.files > middle.files:
        found.append(f"open files grow: {middle.files} at step {middle.step:,}, {last.files} at step {last.step:,}")
    if last.threads > middle.threads:
        found.append(f"threads grow: {middle.threads} at step {middle.step:,}, {last.threads} at step {last.step:,}")
    return found


def train_a_day(job: Job) -> None:
    """As many steps of a small model as the shipped recipe takes in a day here, its log and checkpoints written."""
    steps = job.count
    if job.size == "long":
        seconds = _seconds_a_step(job.scratch / "shipped")
        steps = round(DAY / seconds)
        job.figures["a step of the shipped recipe here"] = f"{seconds:.2f} s, so {round(DAY / seconds):,} in 24 hours"
    trainer = _trainer(job.scratch / "small", "tiny", (*TINY, f"train.steps={steps}"))
    job.plant()
    gc.freeze()  # what is there already need not be looked at each time
    held = _watched(trainer, steps)
    job.tried += trainer.step - 1
    _tell(job, "steps of the small model", held, steps)


def _seconds_a_step(folder: Path) -> float:
    """What a step of the shipped recipe takes: the best of a few, so that a busy machine makes the day no shorter."""
    trainer = _trainer(folder, "stdlib-small", ())
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    times: list[float] = []
    for _ in range(4):
        start = time.monotonic()
        trainer.advance()
        times.append(time.monotonic() - start)
    torch.set_num_threads(1)
    return min(times)


def _trainer(folder: Path, recipe: str, settings: Sequence[str]) -> Trainer:
    corpus = write_corpus(folder / "corpus", documents=4, words=2000)
    run = run_folder.recipe(recipe, [f"data.corpus={corpus}", *settings])
    tokenizer = tokenizer_for(run.data)
    run_folder.create(folder / "run", run, tokenizer)
    return create_trainer(run, folder / "run", tokenizer)


def _watched(trainer: Trainer, steps: int) -> list[Held]:
    """Train, and look at what the process holds every so many steps."""
    held: list[Held] = []
    advance, every = trainer.advance, max(1, steps // SAMPLES)

    def watch() -> object:
        made = advance()
        if trainer.step % every == 0:
            held.append(Held.now(trainer.step))
        return made

    trainer.advance = watch  # pyright: ignore[reportAttributeAccessIssue]
    trainer.train()
    return held


def use_a_day(job: Job) -> None:
    """As many searches, adds and resets of a bare memory of each backend."""
    job.plant()
    gc.freeze()
    backends = (*LOADED, "faiss-ivf")
    for number, name in enumerate(backends):
        if job.only in (None, number):
            step = _verbs(name)
            held: list[Held] = []
            every = max(1, job.count // SAMPLES)
            for i in range(1, job.count + 1):
                step(i)
                if i % every == 0:
                    held.append(Held.now(i))
            job.tried += job.count - 1
            _tell(job, name, held, job.count, number)


def _verbs(name: str) -> Callable[[int], None]:
    """A step: search, add, and now and then a reset of a row."""
    shape = MemoryShape(rows=2, heads=2, key_dim=16, value_dim=16, capacity=128)
    memory = create_memory(name, shape)
    data = torch.Generator().manual_seed(0)
    keys = torch.randn(8, 2, 2, 16, 16, generator=data, dtype=torch.float32)

    def step(i: int) -> None:
        found = memory.search(keys[i % 8], 4)
        found.mix(found.dot(keys[i % 8]).softmax(-1))
        memory.add(keys[i % 7], keys[i % 5])
        if i % 50 == 0:
            memory.reset(torch.tensor([True, False]))

    return step


def _tell(job: Job, name: str, held: Sequence[Held], steps: int, number: int = 0) -> None:
    first, last = held[len(held) // 2], held[-1]
    job.figures[name] = (
        f"{slope(held)} over the second half of {steps:,}; {last.resident / 1e6:.0f} MB, {last.files} open files, "
        f"{last.threads} threads at the end ({first.resident / 1e6:.0f} MB, {first.files}, {first.threads} half-way)"
    )
    job.keep(number, f"{steps:,} steps, {name}", "no growth", growth(held, steps))


CHECKS = (
    Check(
        "growth",
        "training",
        "As many training steps of a small model (2 layers of width 16, memory of 64 entries; log, checkpoints, "
        "readers, caches and memories are those of any training) as the shipped recipe makes in 24 hours here: memory, "
        "open files and threads do not grow",
        "steps",
        400,
        216_000,
        train_a_day,
        30,
    ),
    Check(
        "growth",
        "memory",
        "As many searches, mixes and adds, with a reset every fifty, of a bare memory of exact, hnsw, bucketed and "
        "faiss-ivf (128 entries, width 16): the same",
        "steps",
        600,
        216_000,
        use_a_day,
        15,
    ),
)
