"""What a memory costs SmolLM2, beside its goals: ``python -m benchmarks.goals.hugging_face [--backend NAME]``.

Reading a segment with 8,192 entries and decoding a token with 32,768 in the default far layers, as multiples of the
window alone: medians of calls in turns, and between which half of them lie. These are the measurements of asv's
``suite/hugging_face.py``: memories are filled with the keys and values of one reading, repeated with noise.
"""

from statistics import median, quantiles
from typing import Annotated

import typer
from typer import echo

from benchmarks.suite.common import require_installed
from benchmarks.suite.hugging_face import SMOLLM2, Beside, Decoding, Reading, require_model

GOAL = 1.5
"""How many times the window alone, with exact search on two cores."""


def main(
    backend: Annotated[list[str], typer.Option("--backend", "-b", help="May be repeated.")] = ["exact"],  # noqa: B006
    model: Annotated[str, typer.Option(help="smollm2, or random: a small one.")] = SMOLLM2,
    reading: Annotated[int, typer.Option(min=1, help="Entries while a segment is read.")] = Reading.entries,
    decoding: Annotated[int, typer.Option(min=1, help="Entries while a token is decoded.")] = Decoding.entries,
    turns: Annotated[int, typer.Option(min=2, help="Segments read with each; tokens are four times as many.")] = 9,
) -> None:
    """Print each ratio beside its goal."""
    require_model(model)
    for each in backend:
        require_installed(each)
    beside = Beside(model, Reading.tokens, Reading.settings)
    for each in backend:
        for verb, entries, count in (("reading", reading, turns), ("decoding", decoding, 4 * turns)):
            ratios = beside.ratios(each, entries, verb, count)
            low, _, high = quantiles(ratios, n=4, method="inclusive")
            echo(
                f"{each}, {verb} with {entries:,} entries: {median(ratios):.2f} times the window alone "
                f"({low:.2f} to {high:.2f}; goal {GOAL})"
            )


if __name__ == "__main__":
    typer.run(main)
