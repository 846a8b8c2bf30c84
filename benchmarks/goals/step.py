"""A training step over that of the same model without a memory: ``python -m benchmarks.goals.step [BACKEND]``.

It is what asv tracks in ``suite/step.py``, beside its goal; ``--set train.compile=true`` overrides the recipe.
"""

from typing import Annotated

import typer
from rich.console import Console

from benchmarks.suite.step import TrainingStep, step_times

GOALS = {8192: 1.5}
"""By entries: how many times the step without a memory a step should take on a CPU. At other sizes it is reported."""


def main(
    backend: Annotated[str, typer.Argument()] = "exact",
    set_: Annotated[list[str], typer.Option("--set", help="Override a value of the recipe.")] = [],  # noqa: B006
    entries: Annotated[list[int], typer.Option(help="Entries per memory; may be repeated.")] = [8192, 65536],  # noqa: B006
) -> None:
    """Print the ratio at each size beside its goal."""
    for each in entries:
        TrainingStep().setup(backend, each)  # which refuses what is missing, or would take too long
        measured = step_times(backend, each, set_)
        goal = f"goal {GOALS[each]}" if each in GOALS else "reported"
        Console().print(
            f"{backend}, {each:,} entries: {measured['ratio']:.2f} times the step without a memory ({goal}), "
            f"{measured['step']:.3f} s"
        )


if __name__ == "__main__":
    typer.run(main)
