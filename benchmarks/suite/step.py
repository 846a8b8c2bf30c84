"""What a memory costs where it is used: whole training steps of a model of the shipped checkpoint's size."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch._dynamo  # pyright: ignore[reportUnusedImport] - for seconds by the first optimiser: once, before asv forks
from memstack_models.training import run_folder
from memstack_models.training.trainer import Trainer

from memstack.measure import KEY_SETS
from memstack.measure.measurement import add_entries
from memstack.measure.timing import timed

from .common import BACKENDS, DEVICE, SharedFolder, once, require_affordable, require_installed, set_unit

RECIPE, VOCABULARY, MEMORIES = "stdlib-small", 1024, 64
SEGMENTS = 64  # of a document: no row ends one while it is timed


class TrainingStep(SharedFolder):
    """Forward with search, backward, optimiser, then the memories are written: 8 rows of 256 tokens, all memories full.

    Two layers of 4 heads have a memory, 64 memories in all; they were filled with drifting keys. The text is random
    tokens: a step takes as long whatever is read. The same model without a memory makes its steps in turns with it, in
    the same process; the ratio is the median of the turns'. Its goals on a CPU are 1.35 at 8192 entries and 2 at 65536.
    """

    params = (BACKENDS, [2048, 8192, 65536])
    param_names = ("backend", "entries")
    timeout = 300
    settings: tuple[str, ...] = ()
    """Overrides of the recipe."""
    turns = 4

    def setup(self, backend: str, entries: int) -> None:
        require_installed(backend)
        require_affordable(backend, MEMORIES * entries)

    def track_step(self, backend: str, entries: int) -> float:
        return self._measured(backend, entries)["step"]

    def track_ratio(self, backend: str, entries: int) -> float:
        return self._measured(backend, entries)["ratio"]

    set_unit("seconds", track_step)
    set_unit("times the step without a memory", track_ratio)

    def _measured(self, backend: str, entries: int) -> dict[str, float]:
        return once(f"step-{backend}-{entries}", lambda: self._medians(backend, entries))

    def _medians(self, backend: str, entries: int) -> dict[str, float]:
        taken = turns_of(Trainer.advance, backend, entries, self.settings, self.turns)
        return {"step": median(step for step, _ in taken), "ratio": median(step / without for step, without in taken)}


def turns_of(
    verb: Callable[[Trainer], object], backend: str, entries: int, settings: Sequence[str], turns: int
) -> list[tuple[float, float]]:
    """Seconds of what a trainer with full memories does, and of the same by one of the same model without, by turn.

    ``settings`` override the recipe's.
    """
    # No probe: it is the memory that is measured.
    memory = {"backend": backend, "capacity": entries, "probe.every": 0}
    full = _trainer(*settings, *(f"memory.{name}={value}" for name, value in memory.items()))
    without = _trainer(*settings, "model.memory_layers=[]")
    _fill(full, entries)

    def seconds(trainer: Trainer) -> float:
        return timed(partial(verb, trainer), trainer.device)[1]

    return [(seconds(full), seconds(without)) for _ in range(turns)]


def _trainer(*settings: str) -> Trainer:
    """A trainer that has made its first step, in which every row starts a document."""
    run = run_folder.recipe(RECIPE, [*settings, f"train.device={DEVICE}"])
    random = torch.Generator().manual_seed(0)
    length = SEGMENTS * run.train.segment + 1
    texts = list(torch.randint(VOCABULARY, (run.train.rows, length), generator=random))
    trainer = Trainer(run, Path(), VOCABULARY, texts, [], torch.ones(VOCABULARY, dtype=torch.int64))
    trainer.advance()
    return trainer


def _fill(trainer: Trainer, entries: int) -> None:
    memories = [memory for stream in trainer.streams for memory in stream.bank.values()]
    for seed, memory in enumerate(memories):
        add_entries(memory, KEY_SETS["drifting"](memory.shape, seed, DEVICE), entries)
