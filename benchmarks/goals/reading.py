"""Reading a book with full memories, beside reading it without: ``python -m benchmarks.goals.reading``.

By a model of the shipped checkpoint's size, as an evaluation reads: every segment is predicted, then written to
memories of 65,536 entries; and by SmolLM2, with as many in each of its default far layers, beside its window alone.
Every figure is the share that is left of the tokens read in a second, the two in turns in one process; some minutes.
"""

from typing import Annotated

import torch
import typer
from memstack_models.training.trainer import Trainer

from benchmarks.goals.busy import Watch
from benchmarks.goals.turns import Row, ratio_of, row, show
from benchmarks.suite.common import require_installed
from benchmarks.suite.hugging_face import RANDOM, SMOLLM2, Beside, Reading, require_model
from benchmarks.suite.step import TrainingStep, turns_of

GOAL = 0.5
"""Of the speed without a memory, at least."""


def main(
    backend: Annotated[str, typer.Argument()] = "exact",
    model: Annotated[str, typer.Option(help=f"{SMOLLM2}, or {RANDOM}: a small one.")] = SMOLLM2,
    entries: Annotated[int, typer.Option(min=1, help="Entries per memory.")] = 65536,
    turns: Annotated[int, typer.Option(min=2, help="Segments read with each.")] = 9,
    set_: Annotated[list[str], typer.Option("--set", help="Override a value of the recipe.")] = [],  # noqa: B006
) -> None:
    """Print each share beside its goal."""
    require_installed(backend)
    require_model(model)
    TrainingStep().setup(backend, entries)  # which refuses what would take too long
    watch = Watch()
    ours = ratio_of((without, full) for full, without in turns_of(read_segment, backend, entries, set_, turns))
    beside = Beside(model, Reading.tokens, Reading.settings)
    theirs = ratio_of((1.0, ratio) for ratio in beside.ratios(backend, entries, "reading", turns))
    rows: list[Row] = [
        row(f"{whose}, {backend}, {entries:,} entries: share of the tokens a second", reached, GOAL, least=True)
        for whose, reached in (("stdlib-small", ours), (model, theirs))
    ]
    show(rows)
    watch.tell()


@torch.no_grad()
def read_segment(trainer: Trainer) -> None:
    """Predict the next segment of each row, then remember it."""
    (stream,) = trainer.streams
    _, new = trainer.model(next(stream).tokens.to(trainer.device), stream.bank, stream.cache)
    stream.commit(new)


if __name__ == "__main__":
    typer.run(main)
