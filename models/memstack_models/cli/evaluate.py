"""``memstack eval``: the perplexity of a checkpoint on held-out documents, with its memory and without."""

from pathlib import Path
from typing import Annotated

import typer

from memstack.cli.console import OUT, JsonFile, say, write_record
from memstack_models.cli.options import NOTHING, Checkpoint, Data, Set


def eval_command(
    checkpoint: Checkpoint,
    set_: Set = NOTHING,
    data: Data = None,
    opponent: Annotated[
        str | None, typer.Option(help="A run without a memory, else trained alike: it reads the same text.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw perplexity by position into this .png, .svg or .pdf.")
    ] = None,
    losses: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the loss of every token to this .npz or .jsonl.")
    ] = None,
    json_: JsonFile = None,
) -> None:
    """Report perplexity and bits per byte, whole, by position and by document, with the memory and without.

    Started by torchrun, as torchrun --nproc-per-node 4 -m memstack eval, its processes share the documents.
    """
    from memstack_models.cli.evaluating import by_document_table, by_position_table, evaluate_run
    from memstack_models.cli.over_ranks import over_ranks
    from memstack_models.cli.position_plot import check_picture, draw
    from memstack_models.evaluation.losses import check_losses_file, write_losses

    def check() -> tuple[Path | None, Path | None]:
        return plot and check_picture(plot), losses and check_losses_file(losses)

    def tell() -> None:
        OUT.print(by_position_table(read.record))
        OUT.print(by_document_table(read.record))
        for line in read.notes():
            say(f"note: {line}")
        write_record(json_, read.record)
        if written:
            write_losses(written, read.names, read.losses)
        if picture:
            draw(read.by_position(), picture, f"Perplexity by position, {checkpoint}")

    with over_ranks() as ranks:
        # Whatever is wrong with a file that is to be written shows before minutes are spent.
        picture, written = ranks.together(check)
        read = evaluate_run(checkpoint, set_, data, opponent, ranks)
        ranks.by_first(tell)
