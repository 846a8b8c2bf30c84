"""A training step over that of the same model without a memory: ``python -m benchmarks.goals.step [BACKEND]``.

It is what asv tracks in ``suite/step.py``, beside its goal; ``--set train.compile=true`` overrides the recipe.
"""

from typing import Annotated

import typer
from memstack_models.training.trainer import Trainer

from benchmarks.goals.busy import Watch
from benchmarks.goals.turns import Row, ratio_of, reported, row, show
from benchmarks.suite.step import TrainingStep, turns_of

GOALS = {8192: 1.35, 65536: 2.0}
"""By entries: how many times the step without a memory a step should take on a CPU. At other sizes it is reported."""


def main(
    backend: Annotated[str, typer.Argument()] = "exact",
    set_: Annotated[list[str], typer.Option("--set", help="Override a value of the recipe.")] = [],  # noqa: B006
    entries: Annotated[list[int], typer.Option(help="Entries per memory; may be repeated.")] = [8192, 65536],  # noqa: B006
    turns: Annotated[int, typer.Option(min=1, help="Steps of each that count.")] = 8,
) -> None:
    """Print the ratio at each size beside its goal."""
    rows, watch = list[Row](), Watch()
    for each in entries:
        TrainingStep().setup(backend, each)  # which refuses what is missing, or would take too long
        reached = ratio_of(turns_of(Trainer.advance, backend, each, set_, turns))
        what = f"training step with {backend}, {each:,} entries / without a memory"
        rows.append(row(what, reached, GOALS[each]) if each in GOALS else reported(what, reached))
    show(rows)
    watch.tell()


if __name__ == "__main__":
    typer.run(main)
