"""A run's curves for those who look at runs elsewhere: TensorBoard's event files beside the log, or W&B.

They are made from the log: a run that goes on writes its event files anew, so that no point is there twice, and curves
that are asked for late have all that came before.
"""

import importlib
import math
import struct
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from memstack import ConfigError
from memstack.plugins.config import plain
from memstack.plugins.writing import write_whole
from memstack_models.training.config import RunConfig
from memstack_models.training.errors import writing
from memstack_models.training.identity import sealed
from memstack_models.training.log import read_log
from memstack_models.training.records import LogEntry, StepEntry, ValidationEntry

Draw = Callable[[LogEntry], None]
NEEDS = {"tensorboard": ("tensorboardX", "pip install 'memstack[curves]'"), "wandb": ("wandb", "pip install wandb")}
"""The library that each kind needs, and how it is installed."""
PREFIX, SUFFIX, VERSION = "events.out.tfevents.", ".memstack", "brain.Event:2"
WANDB = "wandb.id"
"""The file that keeps by which name W&B knows the run."""


def check_curves(kind: str) -> None:
    """ConfigError if what should draw a run's curves is not installed."""
    library, install = NEEDS.get(kind, ("", ""))
    if library and find_spec(library) is None:
        raise ConfigError(f"train.curves = {kind!r} needs {library}: {install}; or set it to 'none', the log has all")


@contextmanager
def curves(run: RunConfig, folder: Path) -> Generator[Draw, None, None]:
    """Yield what is to be told each entry that is logged; what the log holds already is drawn first.

    RunFolderError, with the command to go on, where an event file cannot be written.
    """
    kinds = {"none": _nothing, "tensorboard": _event_file, "wandb": _wandb}
    with kinds[run.train.curves](run, folder) as draw:
        yield draw


def points(entry: LogEntry, layers: tuple[int, ...]) -> Iterator[tuple[str, float]]:
    """The curves that an entry has a point of, by name; of numbers that are none, as of recall, there is none."""
    found = _of_validation(entry) if isinstance(entry, ValidationEntry) else _of_step(entry, layers)
    yield from ((name, float(value)) for name, value in found if value is not None and math.isfinite(value))


def _of_step(entry: StepEntry, layers: tuple[int, ...]) -> Iterator[tuple[str, float | None]]:
    yield "loss", entry.loss
    yield "rate", entry.rate
    yield "tokens_per_s", entry.tokens_per_s
    yield "recall", entry.recall
    yield "attention_mass_recall", entry.attention_mass_recall
    for layer, age in (entry.age_by_layer or {}).items():
        yield f"age/layer_{layer}", age
    for layer, heads in zip(layers, entry.memory_share, strict=False):
        yield from ((f"memory_share/layer_{layer}/head_{i}", share) for i, share in enumerate(heads, 1))
    if entry.memory_share:
        yield from (("memory_ms/search", entry.search_ms), ("memory_ms/add", entry.add_ms))


def _of_validation(entry: ValidationEntry) -> Iterator[tuple[str, float | None]]:
    yield "gain", entry.gain
    for name, read in (("without_memory", entry.without), ("with_memory", entry.with_memory)):
        if read is not None:
            yield f"validation_perplexity/{name}", read.perplexity
            yield f"validation_bits_per_byte/{name}", read.bits_per_byte


@contextmanager
def _nothing(run: RunConfig, folder: Path) -> Generator[Draw, None, None]:
    yield lambda entry: None


@contextmanager
def _event_file(run: RunConfig, folder: Path) -> Generator[Draw, None, None]:
    """One event file; those of before the run went on are gone. Each entry's points are in it once it is drawn."""
    event: Any = importlib.import_module("tensorboardX.proto.event_pb2").Event
    scalar: Any = importlib.import_module("tensorboardX.summary").scalar
    path = folder / f"{PREFIX}{int(time.time())}{SUFFIX}"

    def append(found: list[Any]) -> None:
        with writing(path), path.open("ab", buffering=0) as file:
            file.write(b"".join(_framed(each.SerializeToString()) for each in found))

    def draw(entry: LogEntry) -> None:
        now, found = time.time(), points(entry, run.model.memory_layers)
        append([event(step=entry.step, wall_time=now, summary=scalar(name, value)) for name, value in found])

    with writing(path):
        for old in folder.glob(f"{PREFIX}*{SUFFIX}"):
            old.unlink()
    append([event(wall_time=time.time(), file_version=VERSION)])
    for entry in read_log(folder):
        draw(entry)
    yield draw


def _framed(record: bytes) -> bytes:
    """A record as event files have it: its length, its bytes, and a checksum of each."""
    checksum: Any = importlib.import_module("tensorboardX.record_writer").masked_crc32c
    length = struct.pack("<Q", len(record))
    return length + struct.pack("<I", checksum(length)) + record + struct.pack("<I", checksum(record))


@contextmanager
def _wandb(run: RunConfig, folder: Path) -> Generator[Draw, None, None]:
    """A run of W&B, which goes on where it was; what it has been told before is not told again."""
    wandb: Any = importlib.import_module("wandb")
    kept = folder / WANDB
    known = kept.read_text(encoding="utf-8").strip() if kept.is_file() else None
    made = wandb.init(
        project="memstack", name=folder.name, id=known, resume="allow", config=plain(sealed(run)), dir=str(folder)
    )
    with writing(kept):
        write_whole(kept, f"{made.id}\n")
    told = int(made.step) if known else 0

    def draw(entry: LogEntry) -> None:
        if entry.step > told:
            made.log(dict(points(entry, run.model.memory_layers)), step=entry.step)

    try:
        for entry in read_log(folder):
            draw(entry)
        yield draw
    finally:
        made.finish()
