"""What a memory costs where it is used: whole training steps of a model of the shipped checkpoint's size.

``python -m benchmarks.suite.step [BACKEND] [--set train.compile=true ...]`` prints the ratio beside its goal.
"""

from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import torch._dynamo  # which the first optimiser imports for seconds: once, before asv forks
import typer
from memstack_models.training import run_folder
from memstack_models.training.trainer import Trainer

from memstack.measure import KEY_SETS, add_entries, timed

from .common import BACKENDS, DEVICE, SharedFolder, once, require_affordable, require_installed

RECIPE, VOCABULARY, MEMORIES = "stdlib-small", 1024, 64
SEGMENTS = 64  # of a document: no row ends one while it is timed
GOALS = {8192: 1.5}
"""By entries: how many times the step without a memory a step should take on a CPU. At other sizes it is reported."""


class TrainingStep(SharedFolder):
    """Forward with search, backward, optimiser, then the memories are written: 8 rows of 256 tokens, all memories full.

    Two layers of 4 heads have a memory, 64 memories in all; they were filled with drifting keys. The text is random
    tokens: a step takes as long whatever is read. The same model without a memory makes its steps in turns with it, in
    the same process; the ratio is the median of the turns'. Its goal on a CPU is 1.5 at 8192 entries.
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

    track_step.unit = "seconds"
    track_ratio.unit = "times the step without a memory"

    def _measured(self, backend: str, entries: int) -> dict[str, float]:
        return once(f"step-{backend}-{entries}", lambda: self._measure(backend, entries))

    def _measure(self, backend: str, entries: int) -> dict[str, float]:
        # No probe: it is the memory that is measured.
        memory = {"backend": backend, "capacity": entries, "probe.every": 0}
        trainers = (
            self._create(*(f"memory.{name}={value}" for name, value in memory.items())),
            self._create("model.memory_layers=[]"),
        )
        fill(trainers[0], entries)
        turns = [[timed(each.advance, each.device)[1] for each in trainers] for _ in range(self.turns)]
        return {"step": median(step for step, _ in turns), "ratio": median(step / without for step, without in turns)}

    def _create(self, *overrides: str) -> Trainer:
        """A trainer that has made its first step, in which every row starts a document."""
        run = run_folder.recipe(RECIPE, [*self.settings, *overrides, f"train.device={DEVICE}"])
        random = torch.Generator().manual_seed(0)
        length = SEGMENTS * run.train.segment + 1
        texts = list(torch.randint(VOCABULARY, (run.train.rows, length), generator=random))
        trainer = Trainer(run, Path(), VOCABULARY, texts, [], torch.ones(VOCABULARY, dtype=torch.int64))
        trainer.advance()
        return trainer


def main(
    backend: Annotated[str, typer.Argument()] = "exact",
    set_: Annotated[list[str], typer.Option("--set", help="Override a value of the recipe.")] = [],  # noqa: B006
    entries: Annotated[list[int], typer.Option(help="Entries per memory; may be repeated.")] = [8192, 65536],  # noqa: B006
) -> None:
    """Print the ratio at each size beside its goal."""
    benchmark = TrainingStep()
    benchmark.settings = tuple(set_)
    for each in entries:
        benchmark.setup(backend, each)
        measured = benchmark._measure(backend, each)
        goal = f"goal {GOALS[each]}" if each in GOALS else "reported"
        typer.echo(
            f"{backend}, {each:,} entries: {measured['ratio']:.2f} times the step without a memory ({goal}), "
            f"{measured['step']:.3f} s"
        )


def fill(trainer: Trainer, entries: int) -> None:
    """Fill the trainer's memories."""
    memories = [memory for stream in trainer.streams for memory in stream.memories]
    for seed, memory in enumerate(memories):
        add_entries(memory, KEY_SETS["drifting"](memory.shape, seed, DEVICE), entries)


if __name__ == "__main__":
    typer.run(main)
